"""Where a spec's bytes and inputs come from: files, recorded answers, concepts. Part of the models; see there."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from stillhouse.spec.cel import Rule, as_schema
from stillhouse.spec.values import Fraction, Seed, Sha256, Text, Uri


class SpecModel(BaseModel):
    """Strict, frozen, camelCase outside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        """The model's validators, as far as the API server can check them."""
        return ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        if rules := cls.rules():
            handler.resolve_ref_schema(schema).update(as_schema(*rules))
        return schema


class Source(SpecModel):
    """Bytes from outside."""

    uri: Uri
    """Where they are; on a cluster, in the store."""
    sha256: Sha256 | None = None
    """Refuses other bytes than these."""


class Synthesized(SpecModel):
    """Records that the role's own seeded synthesizer and scripted author write."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    """How many."""
    seed: Seed = 42
    """The same seed draws the same records."""


class Import(SpecModel):
    """Recorded answers: JSONL at a uri, or synthesized ones."""

    uri: Uri | None = None
    """JSONL, one answer a line."""
    sha256: Sha256 | None = None
    """Refuses other bytes than these."""
    synthesized: Synthesized | None = None
    model: Text | None = None
    """The model that answered, for rows that name none."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.uri is None) == (self.synthesized is None):
            raise ValueError("an import has either uri or synthesized")
        if self.sha256 is not None and self.uri is None:
            raise ValueError("sha256 belongs to a uri")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return _one_source("an import has either uri or synthesized")


class SynthesizedConcepts(SpecModel):
    """Inputs that the role's own seeded synthesizer makes."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many."""
    seed: Seed = 42
    """The same seed draws the same concepts."""
    planted: Fraction = "0.3"
    """The fraction with planted gaps and conflicts, against which a student's findings are measured."""


class Concepts(SpecModel):
    """What a teacher is asked about: JSONL at a uri, or synthesized."""

    uri: Uri | None = None
    """JSONL, one concept a line."""
    sha256: Sha256 | None = None
    """Refuses other bytes than these."""
    synthesized: SynthesizedConcepts | None = None
    when_exhausted: Literal["Stop", "SecondAnswer"] = "Stop"
    """When every concept was asked about and the target is not reached: stop, or ask for a second answer to each."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.uri is None) == (self.synthesized is None):
            raise ValueError("concepts have either uri or synthesized")
        if self.sha256 is not None and self.uri is None:
            raise ValueError("sha256 belongs to a uri")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return _one_source("concepts have either uri or synthesized")

    @property
    def most_answers(self) -> int | None:
        """Answers that the concepts are good for; None where their number is not known yet."""
        if self.synthesized is None:
            return None
        return self.synthesized.count * (2 if self.when_exhausted == "SecondAnswer" else 1)


def _one_source(message: str) -> tuple[Rule, ...]:
    return (
        Rule("has(self.uri) != has(self.synthesized)", message),
        Rule("has(self.uri) || !has(self.sha256)", "sha256 belongs to a uri"),
    )
