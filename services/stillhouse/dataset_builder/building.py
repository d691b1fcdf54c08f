"""Builds a data set: reads rows, sifts them, splits what stays, and puts four files into the store.

Run as the stage `dataset`. Rows stream through files in the job's workspace; memory holds digests, keys and scores. It
knows no field of a role and no grpc.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.struct_pb2 import Struct

from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
from stillhouse.dataset.contamination import ContaminationIndex
from stillhouse.dataset.importing import Candidate, labelled, read_candidates
from stillhouse.dataset.lines import count_lines, json_line, lines_of
from stillhouse.dataset.records import write_record
from stillhouse.dataset.split import Use
from stillhouse.dataset.statistics import DatasetStatistics, Funnel, RunningScores, ScoreSummary, StatisticsCollector
from stillhouse.dataset_builder.division import Division, HeldOut, divide
from stillhouse.dataset_builder.options import BuildOptions, options_of
from stillhouse.dataset_builder.sieve import CONTAMINATED, Admitted, Refused, Sieve
from stillhouse.errors import FailedPrecondition
from stillhouse.roles.role import Role, load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult
from stillhouse.v1.record_pb2 import ScoreStatistics

_ROWS_A_REPORT = 20


@dataclass(frozen=True)
class _Source:
    """An import or the validation set, fetched: `name` is for what is written, `called` for its user's eyes."""

    path: Path
    name: str
    called: str
    model: str = ""


def build(context: JobContext, request: BuildDatasetRequest) -> BuildDatasetResult:
    """Builds the data set that the request describes; the same request gives the same bytes.

    Raises InvalidArgument where a row or an option is wrong (file, line and field are named), FailedPrecondition where
    too few records stay or their mean is too low, Cancelled when the job is told to stop, and what the store raises.
    """
    return build_for(load_role(request.role.name), context, request)


def build_for(role: Role, context: JobContext, request: BuildDatasetRequest) -> BuildDatasetResult:
    """`build` for a role at hand."""
    options = options_of(request, role)
    sources = [
        _fetch(context, one.rows, f"import-{number}.jsonl", model=one.model, called=one.source)
        for number, one in enumerate(request.imports)
    ]
    validation = None
    if request.HasField("validation"):
        validation = _fetch(context, request.validation, "held-out.jsonl", called=request.validation_source)
    index = ContaminationIndex(_group_keys(validation, role) if validation else ())
    if validation and not len(index):
        raise FailedPrecondition(f"the validation set {validation.called} holds no row", field="validation")
    figures = _sift(role, context, options, sources, index)
    held_out = HeldOut(_candidates(validation, role, answered=False), index) if validation else None
    division = divide(context.workspace, role, fractions=options.fractions, seed=options.seed, held_out=held_out)
    _check(division, figures.collector.funnel(), options)
    return _commit(context, figures, division)


@dataclass(frozen=True)
class _Figures:
    """`answered` is of the kept answers as they came, before they were made canonical; `clean` of all answers that are
    not contaminated, kept or not."""

    collector: StatisticsCollector
    answered: RunningScores
    clean: RunningScores

    def take(self, verdict: Admitted | Refused) -> None:
        """Counts a row."""
        if verdict.answered_score is not None:
            self.clean.add(verdict.answered_score)
        if isinstance(verdict, Refused):
            self.collector.refuse(verdict.reason)
            if verdict.score is not None:
                self.collector.offer(verdict.score)
            return
        record = verdict.record
        self.answered.add(verdict.answered_score)
        if record.score is not None:
            self.collector.offer(record.score)
        self.collector.keep(record.score, record.labels)


def _sift(
    role: Role, context: JobContext, options: BuildOptions, sources: list[_Source], index: ContaminationIndex
) -> _Figures:
    """Writes kept.jsonl and refused.jsonl into the workspace."""
    sieve = Sieve(role, options, is_held_out=index.has)
    figures = _Figures(StatisticsCollector(), RunningScores(), RunningScores())
    reporter = _Reporter(context, figures.collector, total=sum(count_lines(source.path) for source in sources))
    with (
        (context.workspace / "kept.jsonl").open("w", encoding="utf-8", newline="\n") as kept,
        (context.workspace / "refused.jsonl").open("w", encoding="utf-8", newline="\n") as refused,
    ):
        for source, candidate in _all_candidates(sources, role):
            context.raise_if_stopping()
            verdict = sieve.sift(candidate)
            figures.take(verdict)
            if isinstance(verdict, Refused):
                refused.write(_refused_line(source, candidate, verdict))
            else:
                kept.write(write_record(verdict.record))
            reporter.row()
    reporter.done()
    return figures


class _Reporter:
    """Progress of the sifting, in rows."""

    def __init__(self, context: JobContext, collector: StatisticsCollector, *, total: int) -> None:
        self._context = context
        self._collector = collector
        self._total = total
        self._rows = 0

    def row(self) -> None:
        self._rows += 1
        if self._rows % _ROWS_A_REPORT == 0:
            self._report("scoring and guarding rows")

    def done(self) -> None:
        self._total = self._rows
        self._report(str(self._collector.funnel()))

    def _report(self, message: str) -> None:
        funnel = self._collector.funnel()
        figures = {
            "kept": float(funnel.kept),
            "refused": float(sum(funnel.refused.values())),
            CONTAMINATED: float(funnel.refused.get(CONTAMINATED, 0)),
            "score_mean": self._collector.scores.mean,
        }
        self._context.report(
            Progress(stage="dataset", message=message, done=self._rows, total=self._total, unit="rows", figures=figures)
        )


def _check(division: Division, funnel: Funnel, options: BuildOptions) -> None:
    """Counts what trains and tunes: what is held out to validate on does not."""
    records = division.records[Use.TRAIN] + division.records[Use.TUNING]
    if not division.records[Use.TRAIN] or records < options.min_records:
        raise FailedPrecondition(
            f"{records} records to train and tune on are fewer than min_records {max(options.min_records, 1)}"
            f" ({funnel}); import more answers, or lower min_records or min_score",
            field="min_records",
        )
    if division.scores.mean < options.min_mean_score:
        raise FailedPrecondition(
            f"mean score {division.scores.mean:.4f} of {records} records is below min_mean_score"
            f" {options.min_mean_score:g} ({funnel}); import better answers, or raise min_score",
            field="min_mean_score",
        )


def _commit(context: JobContext, figures: _Figures, division: Division) -> BuildDatasetResult:
    statistics = _statistics(figures, division)
    files = {
        name: context.store.put_file(
            context.workspace / f"{name}.jsonl",
            name=f"{name}.jsonl",
            media_type=JSONL_MEDIA_TYPE,
            producer_key=context.key,
        )
        for name in ("train", "tuning", "validation", "refused")
    }
    struct = Struct()
    struct.update(statistics.as_json())
    return BuildDatasetResult(
        **files,
        train_records=division.records[Use.TRAIN],
        tuning_records=division.records[Use.TUNING],
        validation_records=division.records[Use.VALIDATION],
        rows_read=statistics.funnel.rows_read,
        refused_by_reason=statistics.funnel.refused,
        scores=_message(division.scores),
        teacher_scores=_message(figures.clean.summary()),
        statistics=struct,
    )


def _statistics(figures: _Figures, division: Division) -> DatasetStatistics:
    return figures.collector.statistics(
        groups=division.groups[Use.TRAIN] + division.groups[Use.TUNING],
        extra={
            "answered_scores": figures.answered.summary().as_json(),
            **division.as_json(),
        },
    )


def _message(summary: ScoreSummary) -> ScoreStatistics:
    return ScoreStatistics(**summary.as_json())


def _fetch(context: JobContext, artifact: Artifact, file_name: str, *, model: str = "", called: str = "") -> _Source:
    """Whole and verified before the first row is read, so that a broken blob is not taken for broken rows."""
    path = context.store.fetch(artifact, context.workspace / file_name)
    name = artifact.name or f"sha256:{artifact.sha256}"
    return _Source(path, name, called or name, model)


def _all_candidates(sources: list[_Source], role: Role) -> Iterator[tuple[_Source, Candidate]]:
    for source in sources:
        for candidate in _candidates(source, role, answered=True):
            yield source, candidate


def _candidates(source: _Source, role: Role, *, answered: bool) -> Iterator[Candidate]:
    lines = lines_of(source.path, source=source.called)
    for candidate in read_candidates(lines, source=source.called, shape=role, answered=answered):
        yield labelled(candidate, source.model)


def _group_keys(source: _Source, role: Role) -> Iterator[str]:
    for candidate in _candidates(source, role, answered=False):
        yield role.group_key(candidate.inputs)


def _refused_line(source: _Source, candidate: Candidate, refused: Refused) -> str:
    return json_line(
        {
            "file": source.name,
            "line": candidate.row.line,
            "reason": refused.reason,
            "details": list(refused.details),
            "inputs": dict(candidate.inputs),
            "outputs": dict(refused.outputs),
            "response": candidate.response,
            "score": refused.score,
            "labels": dict(candidate.labels),
        }
    )
