"""A stage's asker over the paid teacher: questions without an answer, and a teacher that is away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripted_teacher import ScriptedTeacher, answer, question
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, DeadlineExceeded, InvalidArgument
from stillhouse.teacher_generator.asking import StageAsker
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.paid import PaidTeacher
from stillhouse.teachers.patience import Patience
from stillhouse.teachers.purse import Purse
from stillhouse.teachers.teacher import Answer, Question

IMPATIENT = Patience(deadlines=1, first_pause_seconds=0.001)


async def by_text(asked: Question) -> Answer:
    """Does what the question says."""
    text = asked.messages[0].content
    if text.startswith("stall"):
        raise DeadlineExceeded("no answer in 300 s")
    if text.startswith("refuse"):
        raise InvalidArgument("the prompt is too long")
    await asyncio.sleep(0.01)
    return answer(text)


class Asking:
    """An asker on a store of its own; `ask` puts questions together and closes the teacher."""

    def __init__(self, folder: Path) -> None:
        self.teacher = ScriptedTeacher(by_text)
        self.log = AnswerLog(Store.open(str(folder)))

    def ask(self, *rounds: list[str]) -> list[object]:
        return asyncio.run(self._ask(rounds))

    async def _ask(self, rounds: tuple[list[str], ...]) -> list[object]:
        paid = PaidTeacher(self.teacher, log=self.log, patience=IMPATIENT)
        self.asker = StageAsker(paid, Purse(self.log, Budget(None), {}), "m")
        found: list[object] = []
        try:
            for texts in rounds:
                asked = [self.asker.ask(question(text)) for text in texts]
                found += await asyncio.gather(*asked, return_exceptions=True)
            return found
        finally:
            await self.asker.finish()
            await paid.close()


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


def reasons(outcomes: list[object]) -> list[str]:
    return [getattr(outcome, "finish_reason", type(outcome).__name__) for outcome in outcomes]


def test_a_question_that_is_refused_while_others_are_answered_has_an_empty_answer(asking: Asking) -> None:
    outcomes = asking.ask(["refuse this", "a", "b"])
    assert reasons(outcomes) == ["refused", "stop", "stop"]
    assert outcomes[0].extra["detail"] == "the prompt is too long"


def test_where_every_question_is_refused_it_is_not_the_questions(asking: Asking) -> None:
    assert reasons(asking.ask(["refuse this", "refuse that"])) == ["InvalidArgument"] * 2


def test_a_question_that_runs_out_of_time_is_kept_as_that_and_not_asked_again(asking: Asking, tmp_path: Path) -> None:
    assert reasons(asking.ask(["a"], ["stall"])) == ["stop", "deadline"]
    again = Asking(tmp_path)
    assert reasons(again.ask(["a"], ["stall"])) == ["stop", "deadline"]
    assert again.teacher.asked == []


def test_where_nothing_is_answered_the_teacher_is_away_and_nothing_is_kept(asking: Asking, tmp_path: Path) -> None:
    assert reasons(asking.ask(["stall 1", "stall 2"])) == ["DeadlineExceeded"] * 2
    assert not (tmp_path / "answers").exists()


def test_answers_from_the_log_do_not_make_a_teacher_that_is_away_present(asking: Asking, tmp_path: Path) -> None:
    asking.ask(["a"])
    assert reasons(Asking(tmp_path).ask(["a"], ["stall"])) == ["stop", "DeadlineExceeded"]


def test_a_teacher_that_goes_away_is_noticed_after_a_few_questions(asking: Asking) -> None:
    outcomes = asking.ask(["a"], ["stall 1"], ["b"], ["stall 2", "stall 3", "stall 4", "stall 5"])
    # The last four are under way together: any two of them may be the first to run out of time.
    assert reasons(outcomes[:3]) == ["stop", "deadline", "stop"]
    assert sorted(reasons(outcomes[3:])) == [*["DeadlineExceeded"] * 2, *["deadline"] * 2]


def test_once_it_is_to_finish_nothing_is_asked(asking: Asking) -> None:
    asking.ask(["a"])
    with pytest.raises(Cancelled, match="every answer so far is kept"):
        asyncio.run(asking.asker.ask(question("b")))
