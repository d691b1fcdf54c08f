"""One concept's dialogue with a teacher: ask, read, repair once, give more tokens where they ran out, ask afresh.

Called by generation, many at a time, and by the evaluation of a teacher. What it decides follows from answers alone,
so that the same answers, read from the log, lead to the same outcome. It must not know pacing, money or stores.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Guidance, Message, ParsedAnswer, Role
from stillhouse.teachers.judging import Judge, Judgement, ending_reason
from stillhouse.teachers.teacher import FinishReason, Question
from stillhouse.v1.teacher_pb2 import (
    TEACHER_PROMPT_FENCED,
    TEACHER_PROMPT_PLAIN,
    TEACHER_PROMPT_STRUCTURED,
    TeacherModel,
)

MAX_OUTPUT_TOKENS = 65_536
_LONGER_CALLS = 2
"""How often the limit on output tokens is doubled before an answer counts as too long."""
_LONGEST_RESPONSE = 262_144
"""Characters of an answer that is kept as it came; of a longer one its outputs are."""

Ask = Callable[[Question], Awaitable[LoggedAnswer]]


class Prompt(StrEnum):
    """How a teacher is asked."""

    FENCED = "fenced"
    STRUCTURED = "structured"
    PLAIN = "plain"


class CallKind(StrEnum):
    """Why a call was made."""

    FIRST = "first"
    REPAIR = "repair"
    LONGER = "longer"


@dataclass(frozen=True)
class Manner:
    """How a stage asks."""

    prompt: Prompt
    max_output_tokens: int
    temperature: float
    thinking_budget: int | None
    attempts: int
    """Fresh answers at most."""
    guidance: Guidance | None = None
    """Of an optimised program: the role's own prompt under it takes the place of `prompt`."""

    @property
    def structured(self) -> bool:
        """Answers are JSON by the role's schema."""
        return self.prompt is Prompt.STRUCTURED and self.guidance is None


_PROMPTS = {
    TEACHER_PROMPT_FENCED: Prompt.FENCED,
    TEACHER_PROMPT_STRUCTURED: Prompt.STRUCTURED,
    TEACHER_PROMPT_PLAIN: Prompt.PLAIN,
}


def check_sampling(model: TeacherModel, *, place: str) -> None:
    """Raises InvalidArgument that names the field below `place`: tokens or temperature that no model takes."""
    if not 1 <= model.max_output_tokens <= MAX_OUTPUT_TOKENS:
        raise InvalidArgument(
            f"max_output_tokens {model.max_output_tokens} is not within 1 and {MAX_OUTPUT_TOKENS}",
            field=f"{place}.max_output_tokens",
        )
    if not 0 <= model.temperature <= 2:
        raise InvalidArgument(f"temperature {model.temperature:g} is not within 0 and 2", field=f"{place}.temperature")


def manner_of(model: TeacherModel, *, attempts: int, place: str, guidance: Guidance | None = None) -> Manner:
    """How that model is asked. Raises InvalidArgument that names the field below `place`."""
    if model.prompt not in _PROMPTS:
        raise InvalidArgument("prompt is fenced, structured or plain", field=f"{place}.teacher.prompt")
    check_sampling(model, place=f"{place}.teacher")
    if attempts < 1:
        raise InvalidArgument("attempts is at least 1", field=f"{place}.attempts")
    thinking = model.thinking_budget if model.HasField("thinking_budget") else None
    return Manner(_PROMPTS[model.prompt], model.max_output_tokens, model.temperature, thinking, attempts, guidance)


@dataclass(frozen=True)
class Concept:
    """What is asked about: its number in the file, the role's inputs, and labels that no model sees."""

    number: int
    inputs: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    attempts_before: int = 0
    """Fresh answers that were asked for earlier: new ones take other seeds."""


@dataclass(frozen=True)
class Call:
    """One answer, and what came of it."""

    kind: CallKind
    attempt: int
    answer: LoggedAnswer
    judgement: Judgement


@dataclass(frozen=True)
class Outcome:
    """How a dialogue ended. `accepted` and `response` are of the answer that is kept, if one is."""

    concept: Concept
    calls: tuple[Call, ...]
    accepted: Judgement | None = None
    response: str = ""
    """The whole answer as text, with what a repair added."""
    repaired: bool = False

    @property
    def reason(self) -> str:
        """Why the last answer was refused; empty for an accepted one."""
        return "" if self.accepted is not None or not self.calls else self.calls[-1].judgement.reason


def inputs_digest(inputs: Mapping[str, str]) -> int:
    """64 bits of the inputs' SHA-256: equal inputs are asked about once."""
    text = "\x00".join(f"{name}\x01{value}" for name, value in sorted(inputs.items()))
    return int.from_bytes(sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")


class Dialogue:
    """Dialogues of one stage with one teacher."""

    def __init__(self, role: Role, judge: Judge, manner: Manner, ask: Ask, *, seed: int) -> None:
        """`ask` puts one question, whose answer is kept by the time it is returned; `seed` is the run's."""
        self._role = role
        self._judge = judge
        self._manner = manner
        self._ask = ask
        self._seed = seed

    async def pursue(self, concept: Concept) -> Outcome:
        """Asks until an answer is accepted or the attempts are used up. Raises what `ask` and the judge raise."""
        calls: list[Call] = []
        for attempt in range(concept.attempts_before, concept.attempts_before + self._manner.attempts):
            outcome = await self._attempt(concept, attempt, calls)
            if outcome is not None:
                return outcome
        return Outcome(concept, tuple(calls))

    def first_question(self, inputs: Mapping[str, str], *, attempt: int = 0) -> Question:
        """What is asked first. Raises InvalidArgument if a required input is missing."""
        if self._manner.guidance is not None or self._manner.prompt is Prompt.PLAIN:
            messages = self._role.messages(inputs, self._manner.guidance)
        else:
            messages = self._role.teacher_messages(inputs, structured=self._manner.structured)
        return self._question(messages, self._role.output_fields, attempt)

    async def _attempt(self, concept: Concept, attempt: int, calls: list[Call]) -> Outcome | None:
        question = self.first_question(concept.inputs, attempt=attempt)
        parsed, judgement = await self._read(concept, question, CallKind.FIRST, attempt, calls)
        if judgement.is_accepted:
            return self._accepted(concept, calls, judgement, repaired=False)
        if not judgement.is_broken:
            return None
        repair = self._role.repair(concept.inputs, parsed, structured=self._manner.structured)
        question = self._question(repair.messages, repair.wanted, attempt)
        _, judgement = await self._read(concept, question, CallKind.REPAIR, attempt, calls, kept=repair.kept)
        if judgement.is_accepted:
            return self._accepted(concept, calls, judgement, repaired=True)
        return None

    async def _read(
        self,
        concept: Concept,
        question: Question,
        kind: CallKind,
        attempt: int,
        calls: list[Call],
        *,
        kept: Mapping[str, str] | None = None,
    ) -> tuple[ParsedAnswer, Judgement]:
        """Asks, with more tokens where they ran out, and judges the answer together with the `kept` outputs."""
        for longer in range(_LONGER_CALLS + 1):
            answer = await self._ask(question)
            parsed = self._judge.read(answer, structured=self._manner.structured)
            if kept is not None:
                # What the parser misses here is there already; the judge names what is not.
                parsed = ParsedAnswer({**parsed.outputs, **kept})
            ending = ending_reason(answer)
            if ending:
                judgement = Judgement(ending, (answer.extra.get("detail", ""),))
            else:
                judgement = self._judge.judge(concept.inputs, parsed)
            calls.append(Call(kind if longer == 0 else CallKind.LONGER, attempt, answer, judgement))
            more = min(2 * question.max_output_tokens, MAX_OUTPUT_TOKENS)
            if answer.finish_reason != FinishReason.LENGTH or more == question.max_output_tokens:
                break
            question = replace(question, max_output_tokens=more)
        return parsed, judgement

    def _question(self, messages: Sequence[Message], outputs: Sequence[str], attempt: int) -> Question:
        return Question(
            messages=tuple(messages),
            max_output_tokens=self._manner.max_output_tokens,
            temperature=self._manner.temperature,
            seed=self._seed + attempt,
            thinking_budget=self._manner.thinking_budget,
            response_schema=self._role.response_schema(outputs) if self._manner.structured else None,
        )

    def _accepted(self, concept: Concept, calls: list[Call], judgement: Judgement, *, repaired: bool) -> Outcome:
        text = calls[-1].answer.text
        verbatim = not repaired and not self._manner.structured and len(text) <= _LONGEST_RESPONSE
        response = text if verbatim else self._role.answer_text(judgement.outputs)
        return Outcome(concept, tuple(calls), judgement, response, repaired=repaired)
