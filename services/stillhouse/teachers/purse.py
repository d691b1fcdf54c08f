"""Opens a teacher together with what pays for it: answer log, budget, prices, pace. Called by whoever asks."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.errors import InvalidArgument
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.figures import CallEvent, EventKind
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.pacing import Pacer, pace_of
from stillhouse.teachers.paid import DEFAULT_DEADLINE_SECONDS, PaidTeacher
from stillhouse.teachers.prices import price_of
from stillhouse.v1.teacher_pb2 import ModelPrice, TeacherModel


@dataclass(frozen=True)
class Purse:
    """What all teachers of a run share."""

    log: AnswerLog
    budget: Budget
    environ: Mapping[str, str] = field(repr=False)
    """Credentials and addresses."""
    prices: Sequence[ModelPrice] = ()
    """They take the place of the table's."""


@asynccontextmanager
async def open_paid_teacher(model: TeacherModel, purse: Purse, *, logged: bool = True) -> AsyncIterator[PaidTeacher]:
    """The teacher, closed afterwards; not `logged`: for who keeps every answer itself, and may ask the same twice.

    Raises InvalidArgument where the deadline is none, or the budget has a limit and the model no price, and what
    opening the provider raises.
    """
    deadline_seconds = model.deadline_seconds or DEFAULT_DEADLINE_SECONDS
    if not 0 < deadline_seconds < math.inf:
        raise InvalidArgument(
            f"deadline_seconds is {deadline_seconds:g}; give seconds above 0, or leave it out for "
            f"{DEFAULT_DEADLINE_SECONDS:g}",
            field="deadline_seconds",
        )
    price = price_of(model, purse.prices)
    teacher = await open_teacher(model, purse.environ)
    try:
        paid = PaidTeacher(
            teacher,
            log=purse.log if logged else None,
            price=price,
            budget=purse.budget,
            pacer=Pacer(pace_of(model, teacher.slots)),
            deadline_seconds=deadline_seconds,
            on_event=_log_event,
        )
    except BaseException:
        await teacher.close()
        raise
    try:
        yield paid
    finally:
        await paid.close()


def _log_event(event: CallEvent) -> None:
    """A line an event; answers that cost nothing now are for those who look closely."""
    log = structlog.get_logger("stillhouse.teacher")
    say = log.debug if event.kind is EventKind.FROM_LOG else log.info
    if event.message:
        say(event.kind.value, model=event.model, error=event.message, pause_seconds=round(event.pause_seconds, 2))
    else:
        say(
            event.kind.value,
            model=event.model,
            seconds=round(event.latency_seconds, 2),
            prompt_tokens=event.prompt_tokens,
            output_tokens=event.output_tokens,
            cost_usd=round(event.cost_usd, 6),
        )
