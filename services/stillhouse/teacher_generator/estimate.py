"""What a generation may cost, before anything is asked. Called for --dry-run; it reads optimised programs, no answers.

Calls a record lie between one, where every first answer is good, and what the recorded pipeline needed: of its first
answers 20 to 50 % were accepted, and a repair saved 60 to 70 % of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.roles.role import Example, Role
from stillhouse.teacher_generator.options import StageOptions, options_of
from stillhouse.teachers.dialogue import Dialogue
from stillhouse.teachers.judging import Judge
from stillhouse.teachers.prices import price_of
from stillhouse.teachers.teacher import Question
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest

CALLS_A_RECORD = (1.0, 2.5)
"""From best to as recorded, repairs included."""
ANSWER_TOKENS = 900
"""Of a whole answer: the recorded ones have about 700."""
THINKING_TOKENS = 1000
"""Where no thinking budget is given."""
_CHARACTERS_A_TOKEN = 4
_SAMPLED_CONCEPTS = 50


@dataclass(frozen=True)
class StageEstimate:
    """Of one stage that asks a model; costs in US dollars, None where its price is not known."""

    name: str
    model: str
    records: int
    calls: tuple[int, int]
    prompt_tokens: int
    """A call."""
    output_tokens: int
    """A call, thinking included."""
    cost_usd: tuple[float, float] | None


def estimate(
    request: GenerateRecordsRequest, role: Role, concepts: Iterable[Mapping[str, str]], store: Store | None = None
) -> list[StageEstimate]:
    """One estimate a stage that asks a model, from the first concepts; no more records than concepts allow.

    `store` holds the optimised programs that the request names; without it their prompts are taken for the stages' own.
    Raises InvalidArgument on bad options, and what reading a program raises.
    """
    options = options_of(request, role, store)
    rows = iter(concepts)
    sample = [role.complete(Example(inputs), seed=options.seed).inputs for inputs in islice(rows, _SAMPLED_CONCEPTS)]
    count = len(sample) + sum(1 for _ in rows)
    found, before = [], 0
    for stage in options.stages:
        wanted = stage.remaining(0, before)
        if stage.model is None:
            before += max(wanted or 0, 0)
            continue
        there_are = max(count - before, 0) + (count if options.second_answers else 0)
        records = there_are if wanted is None else min(max(wanted, 0), there_are)
        found.append(_stage(stage, records, sample, role, request))
        before += records
    return found


def _stage(
    stage: StageOptions, records: int, sample: list[Mapping[str, str]], role: Role, request: GenerateRecordsRequest
) -> StageEstimate:
    model, manner = stage.model, stage.manner
    if model is None or manner is None:
        raise ValueError(f"stage {stage.name} asks no model")
    judge = Judge(role, (), stage.min_score)
    dialogue = Dialogue(role, judge, manner, _ask_nobody, seed=0)
    characters = [
        sum(len(message.content) for message in dialogue.first_question(inputs).messages) for inputs in sample
    ]
    prompt_tokens = sum(characters) // max(len(characters), 1) // _CHARACTERS_A_TOKEN
    thinking = THINKING_TOKENS if manner.thinking_budget is None else manner.thinking_budget
    output_tokens = min(ANSWER_TOKENS + thinking, manner.max_output_tokens)
    least, most = (round(records * factor) for factor in CALLS_A_RECORD)
    price = price_of(model, request.prices)
    a_call = None if price is None else price.cost(prompt_tokens, output_tokens)
    cost = None if a_call is None else (least * a_call, most * a_call)
    return StageEstimate(stage.name, model.model, records, (least, most), prompt_tokens, output_tokens, cost)


async def _ask_nobody(_: Question) -> LoggedAnswer:
    raise AssertionError("an estimate asks nobody")
