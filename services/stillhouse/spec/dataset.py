"""What the student learns from: the data set of a Distillation. Part of the models; see there."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from stillhouse.spec.cel import Rule, value
from stillhouse.spec.sources import Concepts, Import, Source, SpecModel
from stillhouse.spec.teacher import DEFAULT_RECORDS, MAX_STAGES, Teacher
from stillhouse.spec.values import Fraction, Seed, Text, number

_HELD_OUT = ("0.70", "0.15")
_GIVEN = ("0.85", "0")
"""Fractions that train and validate, without a validation set and with one."""


class Balance(SpecModel):
    """At most that many records with that label."""

    label: Text
    """A label of the role's records, such as status."""
    value: Text
    """A value of that label."""
    max_records: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Records with it at most."""


class Split(SpecModel):
    """Fractions of the input groups; what is left goes to tuning."""

    train: Fraction | None = None
    """Default 0.85 with a validation set, else 0.70."""
    validation: Fraction | None = None
    """Default 0 with a validation set, else 0.15."""
    seed: Seed = 42
    """The same seed divides the same groups alike."""


class Dataset(SpecModel):
    """What the student learns from."""

    concepts: Concepts | None = None
    """What the teacher is asked about."""
    teacher: Teacher | None = None
    imports: Annotated[list[Import], Field(max_length=32)] = []
    """Recorded answers, beside the teacher's or instead of them."""
    guards: Annotated[list[Text], Field(max_length=32)] | None = None
    """Guards that refuse a record; default: all of the role's."""
    metric: Text | None = None
    """module:function of a metric of your own; default: the role's."""
    min_score: Fraction = "0.80"
    """Records below it are refused."""
    balance: Annotated[list[Balance], Field(max_length=32)] = []
    """Labels that would be too frequent otherwise."""
    split: Split = Split()
    validation: Source | None = None
    """Held-out rows. Without it, part of the input groups is held out."""
    min_records: Annotated[int, Field(ge=1, le=1_000_000_000)] = 20
    """Fewer records stop the run before any training is paid for."""
    min_mean_score: Fraction = "0.85"
    """Records with a lower mean score stop the run before any training is paid for."""

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if self.concepts is not None and self.teacher is None:
            raise ValueError("concepts are for a teacher: name one, or leave them out")
        if self.teacher is None and not self.imports:
            raise ValueError("a data set has a teacher, imports or both")
        if self.concepts is None and self.teacher is not None:
            raise ValueError("a teacher is asked about concepts: name them by uri, or have them synthesized")
        return self

    @model_validator(mode="after")
    def _enough_wanted(self) -> Self:
        if self.teacher is None or self.concepts is None or self.imports:
            return self
        most = self.teacher.most_records
        if most is not None and most < self.min_records:
            raise ValueError(f"the teacher's stages end at {most} records, fewer than minRecords {self.min_records}")
        answers = None if any(stage.import_ for stage in self.teacher.stages) else self.concepts.most_answers
        if answers is not None and answers < self.min_records:
            raise ValueError(f"the concepts give {answers} records at most, fewer than minRecords {self.min_records}")
        return self

    @model_validator(mode="after")
    def _split_fits(self) -> Self:
        train, validation = (number(fraction) for fraction in self.fractions)
        if train == 0:
            raise ValueError("split.train 0 leaves nothing to train on")
        if train + validation > 1:
            raise ValueError(f"split: train {train} and validation {validation} are more than 1 together")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return (
            Rule("has(self.teacher) || !has(self.concepts)", "concepts are for a teacher: name one, or leave them out"),
            Rule("has(self.teacher) || self.?imports.orValue([]) != []", "a data set has a teacher, imports or both"),
            Rule(
                "has(self.concepts) || !has(self.teacher)",
                "a teacher is asked about concepts: name them by uri, or have them synthesized",
            ),
            *_enough_wanted(cls),
            *_split_fits(),
            Rule(
                "!has(self.balance) || self.balance.all(a, self.balance.exists_one(b, a.label == b.label && "
                "a.value == b.value))",
                "balance names a label's value twice",
            ),
        )

    @property
    def fractions(self) -> tuple[str, str]:
        """Of the input groups: what trains and what is held out. Without a validation set, 0.70 and 0.15."""
        train, validation = _HELD_OUT if self.validation is None else _GIVEN
        return self.split.train or train, self.split.validation or validation


def _enough_wanted(dataset: type[Dataset]) -> tuple[Rule, ...]:
    """The last stage with `until` takes the count there, if it is below; the others add theirs.

    So `most_records` is the largest of: the sum of all that have no `until`, and each `until` plus what follows it.
    """
    wanted = value(dataset, "min_records")
    stages = "self.teacher.stages"
    indices = list(range(MAX_STAGES))
    added = f".map(i, {stages}[i].?records.orValue({DEFAULT_RECORDS})).sum()"
    all_added = f"{indices}.filter(i, i < size({stages}) && !has({stages}[i].until)){added}"
    after = f"{indices}.filter(i, i > j && i < size({stages}) && !has({stages}[i].until)){added}"
    reached = f"has({stages}[j].until) && {stages}[j].until + {after} >= {wanted}"
    until = f"{indices}.exists(j, j < size({stages}) && {reached})"
    asked = "has(self.teacher) && has(self.concepts) && self.?imports.orValue([]) == []"
    unbounded = f"{stages}.exists(s, has(s.__import__) && !has(s.records) && !has(s.until))"
    concepts = "self.concepts.synthesized.count * (self.concepts.?whenExhausted.orValue('') == 'SecondAnswer' ? 2 : 1)"
    return (
        Rule(
            f"!({asked}) || {unbounded} || {all_added} >= {wanted} || {until}",
            "the teacher's stages end at fewer records than minRecords",
        ),
        Rule(
            f"!({asked}) || {stages}.exists(s, has(s.__import__)) || !has(self.concepts.synthesized)"
            f" || {concepts} >= {wanted}",
            "the concepts give fewer records than minRecords",
        ),
    )


def _split_fits() -> tuple[Rule, ...]:
    train, validation = (
        f"double(self.?split.?{name}.orValue(has(self.validation) ? '{given}' : '{held_out}'))"
        for name, given, held_out in zip(("train", "validation"), _GIVEN, _HELD_OUT, strict=True)
    )
    return (
        Rule(f"{train} > 0.0", "split.train 0 leaves nothing to train on"),
        Rule(f"{train} + {validation} <= 1.0", "split: train and validation are more than 1 together"),
    )
