"""Divides the kept records into train, tuning and validation files, and finds what is nearly in two of them.

Used by building, after the sieve. Streams kept.jsonl twice; memory holds group keys and scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from stillhouse.dataset.contamination import NEAR_SIMILARITY, ContaminationIndex, NearPair, nearest_pairs
from stillhouse.dataset.importing import Candidate
from stillhouse.dataset.lines import lines_of
from stillhouse.dataset.records import DataRecord, read_records, write_record
from stillhouse.dataset.split import SplitFractions, Use, split_groups
from stillhouse.dataset.statistics import JSON, RunningScores, ScoreSummary
from stillhouse.dataset_builder.conversion import validation_record
from stillhouse.roles.role import Role

NEAR_LABEL = "near_duplicate"
"""Label of a validation row of which a training or tuning row is nearly a copy; an evaluation can leave it out."""

_LISTED_PAIRS = 50


@dataclass(frozen=True)
class HeldOut:
    """A validation set that was given: its rows, and its group keys."""

    rows: Iterable[Candidate]
    index: ContaminationIndex


@dataclass(frozen=True)
class NearDuplicates:
    """Groups of the data that are nearly a group of the validation set, each with its nearest one."""

    pairs: tuple[NearPair, ...]
    """Most similar first."""
    validation_keys: frozenset[str]

    def as_json(self) -> dict[str, JSON]:
        """Counts, and the first pairs."""
        listed: list[JSON] = [
            {"data": pair.data_key, "validation": pair.validation_key, "similarity": pair.similarity}
            for pair in self.pairs[:_LISTED_PAIRS]
        ]
        return {
            "threshold": NEAR_SIMILARITY,
            "groups": len(self.pairs),
            "validation_groups": len(self.validation_keys),
            "pairs": listed,
        }


@dataclass(frozen=True)
class Division:
    """What went where. `scores` are of train and tuning, `validation_scores` of the validation rows that have one."""

    records: Mapping[Use, int]
    groups: Mapping[Use, int]
    scores: ScoreSummary
    validation_scores: ScoreSummary
    near: NearDuplicates

    def as_json(self) -> dict[str, JSON]:
        """For the statistics."""
        return {
            "split": {use.value: {"records": self.records[use], "groups": self.groups[use]} for use in Use},
            "validation_scores": self.validation_scores.as_json(),
            "near_duplicates": self.near.as_json(),
        }


def divide(workspace: Path, role: Role, *, fractions: SplitFractions, seed: int, held_out: HeldOut | None) -> Division:
    """Writes train.jsonl, tuning.jsonl and validation.jsonl beside kept.jsonl, each in the order of its source."""
    kept = workspace / "kept.jsonl"
    uses = split_groups((role.group_key(record.inputs) for record in _records(kept)), fractions, seed=seed)
    index = held_out.index if held_out else ContaminationIndex(key for key in uses if uses[key] is Use.VALIDATION)
    near = _near_duplicates((key for key in uses if uses[key] is not Use.VALIDATION), index)
    with ExitStack() as stack:
        files = {
            use: stack.enter_context((workspace / f"{use}.jsonl").open("w", encoding="utf-8", newline="\n"))
            for use in Use
        }
        writer = _Writer(files, near.validation_keys)
        for record in _records(kept):
            key = role.group_key(record.inputs)
            writer.write(record, uses[key], key)
        for candidate in held_out.rows if held_out else ():
            writer.write(validation_record(role, candidate), Use.VALIDATION, role.group_key(candidate.inputs))
    groups = {use: sum(found is use for found in uses.values()) for use in Use}
    groups[Use.VALIDATION] = len(index)
    return Division(writer.records, groups, writer.scores.summary(), writer.validation_scores.summary(), near)


class _Writer:
    """Writes records to the file of their use, and counts."""

    def __init__(self, files: Mapping[Use, IO[str]], near_keys: frozenset[str]) -> None:
        self._files = files
        self._near_keys = near_keys
        self.records = dict.fromkeys(Use, 0)
        self.scores = RunningScores()
        self.validation_scores = RunningScores()

    def write(self, record: DataRecord, use: Use, key: str) -> None:
        scores = self.scores
        if use is Use.VALIDATION:
            scores = self.validation_scores
            if key in self._near_keys:
                record = replace(record, labels={**record.labels, NEAR_LABEL: "true"})
        self._files[use].write(write_record(record))
        self.records[use] += 1
        if record.score is not None:
            scores.add(record.score)


def _near_duplicates(keys: Iterable[str], index: ContaminationIndex) -> NearDuplicates:
    near = {key: index.near(key) for key in keys}
    return NearDuplicates(nearest_pairs(near), frozenset(other.key for found in near.values() for other in found))


def _records(kept: Path) -> Iterator[DataRecord]:
    return read_records(lines_of(kept), source=kept.name)
