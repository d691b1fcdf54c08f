"""The models of an optimisation: what is tried again, what is a refusal, and what they are called."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dspy import lm15

from scripted_subject import ScriptedSubject, at_random, response
from stillhouse.artifacts.answers import AnswerLog, LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)
from stillhouse.optimizer.journal import BilledRefusal, Journal, RunEnded, installed
from stillhouse.optimizer.models import StudentSubject, TeacherSubject, language_model, proposing, teacher_name
from stillhouse.teachers.prices import FREE
from stillhouse.teachers.teacher import FinishReason, Question
from stillhouse.v1.teacher_pb2 import TeacherModel

REQUEST = lm15.Request(model="m", messages=(lm15.Message.user("Why?"),))


class ScriptedEngine:
    """A StudentEngine whose calls fail with these errors, one after the other, and then succeed."""

    def __init__(self, *errors: StillhouseError, as_error: type[lm15.LM15Error] = lm15.InvalidRequestError) -> None:
        self.errors: Iterator[StillhouseError] = iter(errors)
        self.as_error = as_error
        self.calls = 0

    def complete(self, request: lm15.Request) -> lm15.Response:
        self.calls += 1
        if (error := next(self.errors, None)) is not None:
            raise self.as_error(error.message) from error
        return response("because")


def student(engine: Any, *, patience_seconds: float = 30.0, stopping: threading.Event | None = None) -> StudentSubject:
    return StudentSubject(engine, stopping=stopping or threading.Event(), patience_seconds=patience_seconds)


def test_what_may_pass_is_tried_again() -> None:
    engine = ScriptedEngine(Unavailable("away"), ResourceExhausted("busy", retry_after_seconds=0.1))
    assert student(engine).ask(REQUEST).response.text == "because"
    assert engine.calls == 3


def test_patience_has_an_end() -> None:
    engine = ScriptedEngine(*[Unavailable("away")] * 3)
    with pytest.raises(Unavailable, match="away"):
        student(engine, patience_seconds=0.1).ask(REQUEST)
    assert engine.calls == 1


def test_patience_is_counted_from_the_first_failure_and_not_from_the_question() -> None:
    class SlowToFail(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            time.sleep(0.7)
            return super().complete(request)

    engine = SlowToFail(Unavailable("restarted", retry_after_seconds=0.0))
    assert student(engine, patience_seconds=0.7).ask(REQUEST).response.text == "because"


def test_a_question_that_runs_out_of_time_is_asked_once_more_however_long_that_took() -> None:
    engine = ScriptedEngine(DeadlineExceeded("no answer within 600 s"), as_error=lm15.TimeoutError)
    assert student(engine, patience_seconds=0.0).ask(REQUEST).response.text == "because"
    assert engine.calls == 2


def test_a_question_that_runs_out_of_time_at_once_is_asked_as_long_as_patience_lasts() -> None:
    engine = ScriptedEngine(*[DeadlineExceeded("overloaded")] * 3, as_error=lm15.TimeoutError)
    assert student(engine).ask(REQUEST).response.text == "because"
    assert engine.calls == 4


def test_a_student_that_has_been_back_may_be_away_anew() -> None:
    class Slow(ScriptedEngine):
        def complete(self, request: lm15.Request) -> lm15.Response:
            time.sleep(0.4)
            return super().complete(request)

    engine = Slow(Unavailable("restarted"), DeadlineExceeded("no answer"), Unavailable("restarted"))
    assert student(engine, patience_seconds=1.4).ask(REQUEST).response.text == "because"


def test_a_question_that_runs_out_of_time_again_and_again_fails_its_row() -> None:
    engine = ScriptedEngine(*[DeadlineExceeded("no answer within 600 s")] * 5, as_error=lm15.TimeoutError)
    with pytest.raises(lm15.TimeoutError, match="no answer within 600 s, 2 times"):
        student(engine, patience_seconds=0.0).ask(REQUEST)
    assert engine.calls == 2


def test_a_call_that_the_server_cancels_is_made_again() -> None:
    engine = ScriptedEngine(Cancelled("the server drains"))
    assert student(engine).ask(REQUEST).response.text == "because"
    assert engine.calls == 2


def test_a_run_that_is_stopped_while_the_student_is_away_is_cancelled() -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Cancelled, match="stopped while the student was away: away"):
        student(ScriptedEngine(Unavailable("away")), stopping=stopping).ask(REQUEST)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (InvalidArgument("9000 tokens", field="prompt"), lm15.InvalidRequestError),
        (ResourceExhausted("9000 tokens do not fit a slot"), lm15.ContextLengthError),
        (FailedPrecondition("now serves another model"), FailedPrecondition),
        (PermissionDenied("the token is wrong"), PermissionDenied),
    ],
    ids=["too long", "no slot fits", "another model", "no permission"],
)
def test_what_concerns_one_question_is_refused_and_what_concerns_the_student_ends_the_run(
    error: StillhouseError, raised: type[Exception]
) -> None:
    engine = ScriptedEngine(error)
    with pytest.raises(raised, match=error.message):
        student(engine).ask(REQUEST)
    assert engine.calls == 1


def test_a_teacher_whose_name_dspy_has_opinions_on_takes_its_own_settings(tmp_path: Path) -> None:
    journal = Journal(AnswerLog(Store.open(str(tmp_path / "store"))))
    teacher: Any = SimpleNamespace(identity="litellm:openai/gpt-5")
    name = teacher_name(teacher, TeacherModel())
    lm = language_model(name, ScriptedSubject(at_random), journal, max_tokens=500, temperature=0.5)
    assert (lm.kwargs["max_tokens"], lm.kwargs["temperature"]) == (500, 0.5)
    with installed(journal):
        assert lm("Why?")


@pytest.mark.parametrize(("allowed", "asked"), [(1024, 512), (200, 200)])
def test_a_student_proposes_in_few_tokens(tmp_path: Path, allowed: int, asked: int) -> None:
    journal = Journal(AnswerLog(Store.open(str(tmp_path / "store"))))
    student_lm = language_model("student/one", ScriptedSubject(), journal, max_tokens=allowed, temperature=0.0)
    prompt = proposing(student_lm)
    assert (prompt.kwargs["max_tokens"], prompt.model, prompt.engine) == (asked, "student/one", student_lm.engine)
    assert student_lm.kwargs["max_tokens"] == allowed


def test_a_teacher_that_may_think_longer_is_another_model() -> None:
    teacher: Any = SimpleNamespace(identity="vertex:gemini-2.5-flash")
    models = [TeacherModel(), TeacherModel(thinking_budget=0), TeacherModel(thinking_budget=9)]
    assert [teacher_name(teacher, model) for model in models] == [
        f"teacher/vertex:gemini-2.5-flash{thinking}" for thinking in ("", "?thinking=0", "?thinking=9")
    ]


class RefusingTeacher:
    """Refuses, and wants to be paid."""

    identity = "vertex:m"

    def __init__(self, finish_reason: FinishReason) -> None:
        self.finish_reason = finish_reason

    async def ask(self, question: Question) -> LoggedAnswer:
        extra = {"thinking_tokens": "30", "detail": "SAFETY"}
        return LoggedAnswer("half", str(self.finish_reason), 10, 5, 0.1, cost_usd=0.25, extra=extra)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def teacher_subject(
    teacher: Any, loop: asyncio.AbstractEventLoop, stopping: threading.Event | None = None
) -> TeacherSubject:
    model = TeacherModel(max_output_tokens=99)
    return TeacherSubject(teacher, FREE, model, loop, stopping or threading.Event())


def test_an_answer_of_no_text_is_an_empty_one_with_its_price() -> None:
    class Thoughtful(RefusingTeacher):
        async def ask(self, question: Question) -> LoggedAnswer:
            return replace(await super().ask(question), text="")

    teacher: Any = Thoughtful(FinishReason.EMPTY)
    with running_loop() as loop:
        priced = teacher_subject(teacher, loop).ask(REQUEST)
    assert (priced.response.text, priced.response.finish_reason, priced.cost_usd) == ("", "length", 0.25)


class PatientTeacher:
    """Waits to try again until it is drained."""

    identity = "vertex:m"

    def __init__(self) -> None:
        self.drained = asyncio.Event()

    async def ask(self, question: Question) -> LoggedAnswer:
        await self.drained.wait()
        raise Cancelled("drained")

    async def drain(self) -> None:
        self.drained.set()


def test_a_run_that_is_stopped_does_not_sit_through_a_teachers_pauses() -> None:
    teacher: Any = PatientTeacher()
    stopping = threading.Event()
    stopping.set()
    with running_loop() as loop, pytest.raises(Cancelled, match="drained"):
        teacher_subject(teacher, loop, stopping).ask(REQUEST)


@pytest.mark.parametrize("finish_reason", [FinishReason.BLOCKED, FinishReason.OTHER])
def test_a_teachers_refusal_says_what_was_paid_for_it(finish_reason: FinishReason) -> None:
    teacher: Any = RefusingTeacher(finish_reason)
    with running_loop() as loop:
        subject = teacher_subject(teacher, loop)
        with pytest.raises(BilledRefusal, match="vertex:m gave no answer: SAFETY") as refused:
            subject.ask(REQUEST)
    assert (refused.value.answer.completion_tokens, refused.value.answer.cost_usd) == (35, 0.25)


def test_a_model_of_a_run_is_not_asked_past_its_journal(tmp_path: Path) -> None:
    journal = Journal(AnswerLog(Store.open(str(tmp_path / "store"))))
    subject = ScriptedSubject(at_random)
    lm = language_model("scripted/one", subject, journal, max_tokens=500, temperature=0.5)
    with pytest.raises(RunEnded, match="past its journal"):
        lm("Why?", cache=False)
    assert subject.asked == []
