"""The teacher of a data set: models that are asked, in stages, and their prices. Part of the models; see there."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from stillhouse.spec.cel import Rule, at_default, default, value
from stillhouse.spec.sources import Import, SpecModel
from stillhouse.spec.values import Dollars, Fraction, Name, Seconds, Seed, Temperature, Text, Uri

DEFAULT_RECORDS = 400
MAX_STAGES = 16
_OF_EVERY_STAGE = frozenset({"name", "import_", "min_score", "records", "until"})
_GOOGLES = frozenset({"vertex", "vertex_sdk", "emulator"})


class Emulator(SpecModel):
    """What the emulated teacher does."""

    faults: Literal["none", "recorded"] = "recorded"
    """recorded: leaves out blocks, breaks YAML and refuses as often as the recorded models did."""
    seed: Seed = 0
    """The same seed emulates the same answers and faults."""
    latency_seconds: Seconds = "0.5"
    """Of the median answer."""
    requests_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """0: no quota."""


class TeacherModel(SpecModel):
    """A model of a provider's, and how it is asked."""

    provider: Literal["vertex", "vertex_sdk", "litellm", "gguf", "student", "emulator"] = "vertex"
    """Who serves the model; emulator answers like one, for nothing."""
    model: Text = "gemini-2.5-flash"
    """As its provider names it; a file for gguf."""
    endpoint: Uri | None = None
    """URL of the service; default: the provider's own. http:// is plain text and asks for no credential."""
    project: Text | None = None
    """Google Cloud project; default: that of the environment or the credentials."""
    location: Text = "us-central1"
    """Region, or global."""
    temperature: Temperature = "0.7"
    """Of sampling."""
    max_output_tokens: Annotated[int, Field(ge=64, le=65_536)] = 8192
    """Thinking included."""
    thinking_budget: Annotated[int, Field(ge=0, le=65_536)] | None = None
    """Tokens to think with, of those above; 0 switches thinking off; default: the model's own."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Calls in flight at most; it adapts below that."""
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Calls started in a minute at most; default: no limit of its own."""
    tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Tokens asked for in a minute at most; default: no limit of its own."""
    deadline_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    """Of one call."""
    emulator: Emulator = Emulator()
    """For provider emulator."""

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        """What would have no effect is refused; the defaults, written out, are not."""
        if self.provider not in _GOOGLES and (idle := self._given({"project", "location"})):
            raise ValueError(f"provider {self.provider} has no {idle}: leave it out")
        if self.provider != "emulator" and self._given({"emulator"}):
            raise ValueError(f"emulator is for provider emulator, not {self.provider}: leave it out")
        if self.thinking_budget is not None and self.thinking_budget >= self.max_output_tokens:
            raise ValueError(
                f"thinkingBudget {self.thinking_budget} leaves no token of maxOutputTokens {self.max_output_tokens} "
                "for the answer"
            )
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        provider = value(cls, "provider")
        return (
            Rule(
                f"{provider} in {sorted(_GOOGLES)} || ({at_default(cls, 'project')} && {at_default(cls, 'location')})",
                "only Google's providers have project and location: leave them out",
            ),
            Rule(
                f"{provider} == 'emulator' || {at_default(cls, 'emulator')}",
                "emulator is for provider emulator: leave it out",
            ),
            Rule(
                f"!has(self.thinkingBudget) || self.thinkingBudget < {value(cls, 'max_output_tokens')}",
                "thinkingBudget leaves no token of maxOutputTokens for the answer",
            ),
            *_endpoint_rules(provider),
        )

    def _given(self, fields: set[str]) -> str:
        """The first of these fields that is not at its default, as the file has it; empty for none."""
        given = [name for name in sorted(fields) if getattr(self, name) != type(self).model_fields[name].get_default()]
        return to_camel(given[0]) if given else ""


def _endpoint_rules(provider: str) -> tuple[Rule, ...]:
    """What `controller.teacher_requests.check` says of endpoints."""
    return (
        Rule(f"{provider} != 'gguf' || !has(self.endpoint)", "a gguf file has no endpoint: leave it out"),
        Rule(
            f"{provider} != 'student' || (has(self.endpoint) && self.endpoint.matches('^[^\\\\s/]+:[0-9]{{1,5}}$'))",
            "a student is asked at an endpoint HOST:PORT",
        ),
        Rule(
            f"{provider} in ['gguf', 'student'] || !has(self.endpoint)"
            " || self.endpoint.startsWith('http://') || self.endpoint.startsWith('https://')",
            "the endpoint is no URL; write http://HOST:PORT or https://HOST",
        ),
    )


class TeacherStage(TeacherModel):
    """One model that is asked until its target is reached, or recorded answers that count as if it had been."""

    name: Name | None = None
    """Labels its records. Default: the model's name, or import."""
    import_: Annotated[Import | None, Field(alias="import")] = None
    """Recorded answers in place of a model."""
    prompt: Literal["Fenced", "Structured", "Plain"] = "Fenced"
    """Fenced blocks with a worked example, JSON by a schema, or the student's own prompt. An optimised program, where
    there is one, takes its place."""
    min_score: Fraction = "0.80"
    """Answers below it are refused."""
    records: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The stage ends at that many records of its own. Default for a model, without until: 400."""
    until: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The stage ends once the data set has that many records."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Fresh answers to one concept before it is set aside."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.records is not None and self.until is not None:
            raise ValueError("a stage has records or until, not both")
        return self

    @model_validator(mode="after")
    def _asks_or_imports(self) -> Self:
        if self.import_ is not None and (idle := self._given(set(type(self).model_fields) - _OF_EVERY_STAGE)):
            raise ValueError(f"a stage with import asks no model: leave {idle} out")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        idle = " && ".join(at_default(cls, name) for name in cls.model_fields if name not in _OF_EVERY_STAGE)
        return (
            Rule("!(has(self.records) && has(self.until))", "a stage has records or until, not both"),
            Rule(
                f"!has(self.__import__) || ({idle})", "a stage with import asks no model: leave the model's fields out"
            ),
            *super().rules(),
        )

    @property
    def label(self) -> str:
        """The stage's name, or what stands for it."""
        return self.name or ("import" if self.import_ is not None else self.model[:63])


class ModelPrice(SpecModel):
    """US dollars for a million tokens; thinking is paid as output."""

    model: Text
    """As the stages name it."""
    input_per_million_usd: Dollars
    """For a million tokens of prompts."""
    output_per_million_usd: Dollars
    """For a million tokens of answers."""


class Teacher(SpecModel):
    """Models that are asked about the concepts, in sequence."""

    stages: Annotated[list[TeacherStage], Field(min_length=1, max_length=MAX_STAGES)]
    """Asked in sequence, about the concepts that have no record yet."""
    seed: Seed = 42
    """Of the sampling."""
    prices: Annotated[list[ModelPrice], Field(max_length=64)] = []
    """Take the place of the built-in price table's."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if name := _repeated([stage.label for stage in self.stages]):
            raise ValueError(f"two stages are called {name!r}: give one of them a name of its own")
        if model := _repeated([price.model for price in self.prices]):
            raise ValueError(f"prices names {model} twice")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return (
            Rule(
                f"self.stages.all(a, self.stages.exists_one(b, {_label('a')} == {_label('b')}))",
                "two stages are called the same: give one of them a name of its own",
            ),
            Rule(
                "!has(self.prices) || self.prices.all(a, self.prices.exists_one(b, a.model == b.model))",
                "prices names a model twice",
            ),
        )

    @property
    def most_records(self) -> int | None:
        """Records that the stages end at together; None where an import has no bound."""
        records = 0
        for stage in self.stages:
            if stage.until is not None:
                records = max(records, stage.until)
            elif stage.records is None and stage.import_ is not None:
                return None
            else:
                records += stage.records or DEFAULT_RECORDS
        return records


def _label(stage: str) -> str:
    """`TeacherStage.label` in CEL."""
    model = f"(has({stage}.model) ? {stage}.model : {default(TeacherStage, 'model')})"
    named = f"(size({model}) > 63 ? {model}.substring(0, 63) : {model})"
    return f"(has({stage}.name) ? {stage}.name : has({stage}.__import__) ? 'import' : {named})"


def _repeated(names: list[str]) -> str:
    return next((name for name, count in Counter(names).items() if count > 1), "")
