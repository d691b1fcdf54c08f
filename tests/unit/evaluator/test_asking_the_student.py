from threading import Event

import pytest

from scripted_student import MODEL, ScriptedStudent
from stillhouse.artifacts.answers import AnswerLog, LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from stillhouse.evaluator.asking import FailedAnswer, Interviewer, Patience
from stillhouse.evaluator.student import Question
from stillhouse.roles.role import Message

IMPATIENT = Patience(away_seconds=0.05, first_pause_seconds=0.01, longest_pause_seconds=0.01)
QUESTION = Question((Message("user", "Why?"),), "", 64, 0.0, 42)


def raising(*errors: Exception) -> ScriptedStudent:
    """Raises these in turn, then answers."""
    waiting = list(errors)

    def script(text: str) -> str:
        if waiting:
            raise waiting.pop(0)
        return "because"

    return ScriptedStudent(script)


@pytest.fixture
def log(tmp_path) -> AnswerLog:
    return AnswerLog(Store.open(str(tmp_path)))


def ask(student: ScriptedStudent, log: AnswerLog | None = None) -> LoggedAnswer | FailedAnswer:
    return Interviewer(student, log, patience=IMPATIENT).ask(QUESTION)


def test_an_answer_that_is_kept_is_not_asked_for_again(log: AnswerLog) -> None:
    student = ScriptedStudent(lambda text: "because")

    first, second = ask(student, log), ask(student, log)

    assert first == second
    assert isinstance(second, LoggedAnswer)
    assert second.latency_seconds == 2.0
    assert len(student.asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        Question((Message("user", "How?"),), "", 64, 0.0, 42),
        Question((Message("user", "Why?"),), "root ::= x", 64, 0.0, 42),
        Question((Message("user", "Why?"),), "", 65, 0.0, 42),
        Question((Message("user", "Why?"),), "", 64, 0.5, 42),
        Question((Message("user", "Why?"),), "", 64, 0.0, 43),
    ],
)
def test_any_other_question_is_asked_for_itself(log: AnswerLog, other: Question) -> None:
    student = ScriptedStudent(lambda text: "because")
    interviewer = Interviewer(student, log)

    interviewer.ask(QUESTION)
    interviewer.ask(other)

    assert len(student.asked) == 2


def test_another_model_is_asked_for_itself(log: AnswerLog) -> None:
    ask(ScriptedStudent(lambda text: "because"), log)
    other = ScriptedStudent(lambda text: "therefore", model="cd" * 32)

    answer = ask(other, log)

    assert isinstance(answer, LoggedAnswer)
    assert answer.text == "therefore"


def test_a_student_that_does_not_name_its_model_is_never_answered_for_from_the_log(log: AnswerLog) -> None:
    student = ScriptedStudent(lambda text: "because", model="")

    ask(student, log)
    ask(student, log)

    assert len(student.asked) == 2


def test_a_student_that_comes_back_is_asked_again() -> None:
    answer = ask(raising(Unavailable("away"), Unavailable("away")))

    assert isinstance(answer, LoggedAnswer)


def test_a_full_student_is_waited_for() -> None:
    answer = ask(raising(ResourceExhausted("full", retry_after_seconds=0.01)))

    assert isinstance(answer, LoggedAnswer)


def test_a_student_that_stays_away_ends_the_evaluation_with_address_and_remedy() -> None:
    away = "can't reach it: refused; is it running, and are TLS and address right?"
    with pytest.raises(Unavailable) as caught:
        ask(raising(*[Unavailable(away)] * 100))
    assert f"at 127.0.0.1:9 does not answer: {away} (stillhouse serve-student" in caught.value.message
    assert caught.value.message.count("address") == 1


def test_a_prompt_that_does_not_fit_is_a_failed_row() -> None:
    answer = ask(raising(ResourceExhausted("the prompt has 9000 tokens")))

    assert answer == FailedAnswer("does not fit", "the prompt has 9000 tokens")


def test_a_refused_question_is_a_failed_row() -> None:
    assert ask(raising(InvalidArgument("bad grammar"))) == FailedAnswer("refused", "bad grammar")


def test_a_row_that_runs_out_of_time_once_is_asked_again() -> None:
    assert isinstance(ask(raising(DeadlineExceeded("slow"))), LoggedAnswer)


def test_a_row_that_runs_out_of_time_twice_is_a_failed_row() -> None:
    assert ask(raising(*[DeadlineExceeded("slow")] * 2)) == FailedAnswer("deadline exceeded", "slow")


def test_a_failed_row_is_not_kept_as_an_answer(log: AnswerLog) -> None:
    student = raising(InvalidArgument("bad grammar"))

    ask(student, log)

    assert isinstance(ask(student, log), LoggedAnswer)


def test_a_refused_token_is_no_failed_row_but_ends_the_evaluation() -> None:
    with pytest.raises(PermissionDenied):
        ask(raising(PermissionDenied("wrong token")))


def test_an_answer_of_another_model_than_at_the_start_is_refused(log: AnswerLog) -> None:
    student = ScriptedStudent(lambda text: "because", answering_model="cd" * 32)

    with pytest.raises(FailedPrecondition, match=f"{MODEL[:12]} to {('cd' * 32)[:12]}"):
        ask(student, log)


def test_stopping_ends_it_before_the_next_question() -> None:
    stopping = Event()
    stopping.set()

    with pytest.raises(Cancelled):
        Interviewer(ScriptedStudent(lambda text: "because"), None, stopping=stopping).ask(QUESTION)
