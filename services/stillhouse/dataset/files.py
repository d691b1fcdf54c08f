"""What the command line does to data set files: check against a validation set, split, and count.

Works on flat import rows and on records of a built data set alike. It knows field names only from its caller's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stillhouse.dataset.contamination import ContaminationIndex, NearPair, nearest_pairs
from stillhouse.dataset.importing import Candidate, read_candidates
from stillhouse.dataset.lines import lines_of, replacing
from stillhouse.dataset.shape import RecordShape
from stillhouse.dataset.split import SplitFractions, Use, split_groups
from stillhouse.dataset.statistics import DatasetStatistics, StatisticsCollector
from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class ContaminationReport:
    """Overlap of a data set with a validation set. Exact overlap is contamination; near pairs are only reported."""

    rows: int
    groups: int
    validation_rows: int
    validation_groups: int
    exact_rows: int
    """Rows of the data whose group the validation set holds."""
    exact_groups: tuple[str, ...]
    """Those groups, sorted."""
    near_rows: int
    """Rows whose group is only near one of the validation set."""
    near_pairs: tuple[NearPair, ...]
    """Each such group with its nearest of the validation set; most similar first."""

    @property
    def contaminated(self) -> bool:
        """Whether any normalised key is in both."""
        return bool(self.exact_groups)


@dataclass(frozen=True)
class SplitReport:
    """Rows and groups on each side of a split."""

    train_rows: int
    train_groups: int
    validation_rows: int
    validation_groups: int


def check_contamination(data: Path, against: Path, shape: RecordShape) -> ContaminationReport:
    """Compares the groups of two JSONL files; rows need the field they are grouped by, no more.

    Raises NotFound, PermissionDenied, and InvalidArgument that names file, line and field of a broken row.
    """
    validation = _group_rows(against, shape)
    rows = _group_rows(data, shape)
    index = ContaminationIndex(validation)
    exact = tuple(sorted(key for key in rows if index.has(key)))
    near = {key: index.near(key) for key in rows if not index.has(key)}
    pairs = nearest_pairs(near)
    return ContaminationReport(
        rows=sum(rows.values()),
        groups=len(rows),
        validation_rows=sum(validation.values()),
        validation_groups=len(validation),
        exact_rows=sum(rows[key] for key in exact),
        exact_groups=exact,
        near_rows=sum(rows[pair.data_key] for pair in pairs),
        near_pairs=pairs,
    )


def split_file(
    data: Path, *, train: Path, validation: Path, fraction: float, seed: int, shape: RecordShape
) -> SplitReport:
    """Divides a JSONL file by input group; rows are written unchanged and in their order.

    `fraction` in (0, 1) of the groups goes to `train`, the rest to `validation`. Raises NotFound, PermissionDenied, and
    InvalidArgument where the fraction is out of range, the paths are not three, or a row is broken.
    """
    if not 0 < fraction < 1:
        raise InvalidArgument(f"split fraction {fraction:g} is not between 0 and 1", field="split")
    if len({path.resolve() for path in (data, train, validation)}) < 3:
        raise InvalidArgument("data, train and validation must be three different files")
    uses = split_groups(_group_rows(data, shape), SplitFractions(train=fraction), seed=seed)
    rows = {Use.TRAIN: 0, Use.TUNING: 0}
    with ExitStack() as stack:
        outputs = {
            Use.TRAIN: stack.enter_context(replacing(train)),
            Use.TUNING: stack.enter_context(replacing(validation)),
        }
        for line in lines_of(data):
            for candidate in _grouped([line], data.name, shape):
                use = uses[shape.group_key(candidate.inputs)]
                outputs[use].write(line.rstrip("\r\n") + "\n")
                rows[use] += 1
    groups = [use for use in uses.values() if use is Use.TRAIN]
    return SplitReport(rows[Use.TRAIN], len(groups), rows[Use.TUNING], len(uses) - len(groups))


def file_statistics(
    data: Path, shape: RecordShape, *, score: Callable[[Candidate], float] | None = None
) -> DatasetStatistics:
    """Figures of a JSONL file of rows or records, by the score they carry or, where they carry none, by `score`.

    Raises NotFound, PermissionDenied, and InvalidArgument that names file, line and field of a broken row.
    """
    collector = StatisticsCollector()
    groups: set[str] = set()
    for candidate in _grouped(lines_of(data), data.name, shape):
        groups.add(shape.group_key(candidate.inputs))
        found = candidate.score
        if found is None and score is not None:
            found = score(candidate)
        collector.keep(found, candidate.labels)
    return collector.statistics(groups=len(groups))


def _grouped(lines: Iterable[str], source: str, shape: RecordShape) -> Iterator[Candidate]:
    """Rows that need no more than the field they are grouped by."""
    return read_candidates(lines, source=source, shape=shape, required=(shape.group_field,), answered=False)


def _group_rows(path: Path, shape: RecordShape) -> dict[str, int]:
    """Rows of each group."""
    counts: dict[str, int] = {}
    for candidate in _grouped(lines_of(path), path.name, shape):
        key = shape.group_key(candidate.inputs)
        counts[key] = counts.get(key, 0) + 1
    return counts
