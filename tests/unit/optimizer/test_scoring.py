"""The metric as DSPy's optimizers call it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dspy
import pytest

from quiz_role import QuizRole
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument
from stillhouse.optimizer.journal import Journal, RunEnded
from stillhouse.optimizer.scoring import Scoring
from stillhouse.roles.metric_reference import Metric, load_metric
from stillhouse.roles.role import MetricScore

EXAMPLE = dspy.Example(question="Why?", hint="").with_inputs("question", "hint")
TRACE: list[object] = []


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(AnswerLog(Store.open(str(tmp_path / "store"))))


def scoring(journal: Journal, *, metric: Metric | None = None, threshold: float = 0.0) -> Scoring:
    made = Scoring(QuizRole(), metric, journal)
    made.threshold = threshold
    return made


def prediction(answer: str, comment: str = "good") -> dspy.Prediction:
    return dspy.Prediction(answer=answer, comment=comment)


def test_the_score_is_the_roles_own(journal: Journal) -> None:
    assert scoring(journal, threshold=0.9).score(EXAMPLE, prediction("12345")) == 0.5


def test_an_answer_below_the_threshold_becomes_no_demo(journal: Journal) -> None:
    demos = scoring(journal, threshold=0.5)
    assert demos.score(EXAMPLE, prediction("1234"), TRACE) == 0.0
    assert demos.score(EXAMPLE, prediction("12345"), TRACE) == 0.5


@pytest.mark.parametrize(
    "unfit",
    [prediction("long enough", " "), prediction("WHAT A SHAME"), prediction("Why?")],
    ids=["blank", "guard", "echo"],
)
def test_an_answer_that_is_not_whole_or_that_a_guard_rejects_becomes_no_demo(
    journal: Journal, unfit: dspy.Prediction
) -> None:
    demos = scoring(journal)
    assert demos.score(EXAMPLE, unfit) > 0
    assert demos.score(EXAMPLE, unfit, TRACE) == 0.0


def test_feedback_names_score_parts_and_what_is_wrong(journal: Journal) -> None:
    found = scoring(journal).with_feedback(EXAMPLE, prediction("WHAT", ""))
    assert found.score == 0.4
    assert found.feedback == ("The score is 0.400 of 1 (length 4). comment is blank. the answer is in capitals.")


def test_a_metric_of_the_users_own_takes_the_roles_place(journal: Journal) -> None:
    def metric(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
        assert (inputs, outputs) == ({"question": "Why?"}, {"answer": "so", "comment": "good"})
        return MetricScore(0.75, {})

    assert scoring(journal, metric=metric).score(EXAMPLE, prediction("so")) == 0.75


def test_a_metric_that_raises_ends_the_run_for_every_thread(journal: Journal) -> None:
    failing = scoring(journal, metric=load_metric("leaf_metrics:failing"))
    with pytest.raises(RunEnded, match="ZeroDivisionError: a bug of the user's") as ended:
        failing.score(EXAMPLE, prediction("so"))
    assert isinstance(ended.value.error, InvalidArgument)
    with pytest.raises(RunEnded, match="ZeroDivisionError"):
        journal.get({"model": "m", "messages": []})


class FailingRole(QuizRole):
    """Its metric has a fault."""

    def score(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
        raise ZeroDivisionError("division by zero")


def test_a_roles_metric_that_raises_ends_the_run_too(journal: Journal) -> None:
    failing = Scoring(FailingRole(), None, journal)
    for score in (failing.score, failing.with_feedback):
        with pytest.raises(RunEnded) as ended:
            score(EXAMPLE, prediction("12345"))
        assert "the metric of role quiz failed (ZeroDivisionError: division by zero)" in str(ended.value.error)
