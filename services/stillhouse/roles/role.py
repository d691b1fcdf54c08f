"""What a role is to the rest of Stillhouse: prompt, parser, metric, guards, grammar and synthesizer as plain functions.

Every service works with this protocol and never names a field of a role. Roles are found through the entry point group
`stillhouse.roles`; a second role is one new folder and one entry point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol

from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class Message:
    """One chat message; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class ParsedAnswer:
    """What a role's parser found in an answer.

    `outputs` holds the text of each output that was found, by field name, verbatim but for its fence; `problems` says,
    for a person, what is missing or broken. An answer is *valid* when every output is there and satisfies the role's
    models.
    """

    outputs: Mapping[str, str]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricScore:
    """A metric's verdict: `score` in [0, 1]; `parts` by name, in the metric's own points."""

    score: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class GuardFinding:
    """A guard that fired, and why, for a person."""

    guard: str
    reason: str


@dataclass(frozen=True)
class Example:
    """A role's inputs and labels that no model sees (tier, planted gaps, ...)."""

    inputs: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Guidance:
    """What a prompt optimizer may change of a role's prompt: its instructions, and worked examples before it."""

    instructions: str
    demos: tuple[Mapping[str, str], ...] = ()
    """Inputs and outputs by field name; one that lacks a required input or an output is left out of the prompt."""


@dataclass(frozen=True)
class Repair:
    """One more request that completes an answer: what is asked, what of the first answer is kept, what is wanted."""

    messages: tuple[Message, ...]
    kept: Mapping[str, str]
    """Outputs of the first answer that are valid, verbatim."""
    wanted: tuple[str, ...]
    """Names of the outputs that were missing or broken."""


@dataclass(frozen=True)
class Detection:
    """How a review's findings of one kind compare with what was planted: counts."""

    found: int = 0
    """Planted, and found."""
    missed: int = 0
    """Planted, and not found."""
    invented: int = 0
    """Found, and not planted."""


class Role(Protocol):
    """A role. All functions are pure and deterministic; none but `canonical` raises on bad model output."""

    name: str
    """As in the spec and the registry: `product_owner`."""
    version: int
    """Goes up when prompt, parser, metric or guards change; it enters every digest."""
    input_fields: Sequence[str]
    """Required inputs first."""
    optional_inputs: frozenset[str]
    output_fields: Sequence[str]
    group_field: str
    """The input by which records belong together in a split and by which contamination is decided."""
    guard_names: Sequence[str]

    def group_key(self, inputs: Mapping[str, str]) -> str:
        """The normalised `group_field` (lower case, white space collapsed)."""
        ...

    def messages(self, inputs: Mapping[str, str], guidance: Guidance | None = None) -> list[Message]:
        """The prompt, as chat messages; None: the role's own instructions and no demos, as students are trained.

        Raises InvalidArgument if a required input is missing.
        """
        ...

    def inputs_of(self, messages: Sequence[Message]) -> Mapping[str, str] | None:
        """The inputs that a prompt of `messages` asks about; None for text that is no prompt of this role."""
        ...

    def dspy_program(self) -> Any:
        """A fresh DSPy module that renders `messages` and reads answers as `parse` does; imports dspy.

        It has one predictor, whose outputs are `output_fields`, and speaks through the role's own adapter.
        """
        ...

    def parse(self, answer: str) -> ParsedAnswer:
        """Reads an answer tolerantly; never raises, never invents."""
        ...

    def problems(self, outputs: Mapping[str, str]) -> list[str]:
        """Why these outputs do not satisfy the role's models; empty when they are valid."""
        ...

    def canonical(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        """The outputs as canonical text. Raises InvalidArgument where they are not valid."""
        ...

    def answer_text(self, outputs: Mapping[str, str]) -> str:
        """The full answer in which these outputs appear, as a student is trained to write it."""
        ...

    def score(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
        """The role's metric over raw output text; missing outputs count as empty. Never raises."""
        ...

    def guards(
        self, inputs: Mapping[str, str], outputs: Mapping[str, str], selected: Sequence[str]
    ) -> list[GuardFinding]:
        """The selected guards that fire. Raises InvalidArgument on an unknown guard name."""
        ...

    def labels(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        """Labels read off an answer, for balance and statistics (for example status=aligned)."""
        ...

    def grammar(self, inputs: Mapping[str, str]) -> str:
        """GBNF that holds an answer to valid, bounded, finite text of this role."""
        ...

    def examples(self, *, count: int, seed: int, planted: float = 0.5) -> Iterator[Example]:
        """`count` distinct synthesized inputs; the same arguments give the same ones, and a longer run begins alike.

        `planted` is the fraction, in [0, 1], with planted findings, which stand in the labels.
        """
        ...

    def complete(self, example: Example, *, seed: int) -> Example:
        """The example with the required inputs it lacks, synthesized from those it has; itself where it lacks none.

        Raises InvalidArgument if what it has does not suffice.
        """
        ...

    def author(self, example: Example, *, seed: int) -> str:
        """A scripted, short, good answer to a synthesized example: the stand-in for a teacher in demos and tests."""
        ...

    def teacher_messages(self, inputs: Mapping[str, str], *, structured: bool) -> list[Message]:
        """The prompt for a teacher: with a worked example of the fenced answer, or for an answer by `response_schema`.

        Raises InvalidArgument if a required input is missing.
        """
        ...

    def response_schema(self, outputs: Sequence[str]) -> Mapping[str, Any]:
        """JSON schema of an object with these outputs, made of type, properties, required, items, enum, description."""
        ...

    def parse_structured(self, answer: str) -> ParsedAnswer:
        """Reads an answer by `response_schema`, its outputs rendered to canonical text; never raises, never invents."""
        ...

    def repair(self, inputs: Mapping[str, str], answer: ParsedAnswer, *, structured: bool) -> Repair:
        """The request that completes an answer with missing or broken outputs: keeps what is valid, names the rest."""
        ...

    def reply(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, *, seed: int, careless: bool) -> str:
        """What the scripted author answers to a prompt of `messages`, `teacher_messages` or `repair`.

        With a schema in JSON by it, else in fenced blocks, only the wanted ones to a repair. A `careless` answer is
        valid and scores below 0.8. Answers prompts it does not know with a sentence.
        """
        ...

    def detections(self, labels: Mapping[str, str], outputs: Mapping[str, str]) -> Mapping[str, Detection]:
        """By kind (gaps, conflicts): findings against the planted labels; empty where the labels say nothing."""
        ...


@cache
def installed_roles() -> Mapping[str, Role]:
    """All roles that are installed, by name."""
    return {point.name: point.load() for point in entry_points(group="stillhouse.roles")}


def load_role(name: str) -> Role:
    """The role of that name. Raises InvalidArgument that names the installed ones."""
    roles = installed_roles()
    if name not in roles:
        raise InvalidArgument(f"unknown role {name!r}; installed roles: {', '.join(sorted(roles))}", field="role")
    return roles[name]
