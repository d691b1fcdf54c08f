import json
from pathlib import Path
from threading import Event

import pytest

from quiz_role import QuizRole
from scripted_student import MODEL, ScriptedStudent
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, FailedPrecondition, InvalidArgument
from stillhouse.evaluator.evaluation import EvaluationPlan, Measured, measure
from stillhouse.evaluator.rows import read_rows
from stillhouse.evaluator.summary import Subject, json_bytes, read_baseline
from stillhouse.v1.evaluator_pb2 import Gate

QUESTIONS = ["Why?", "How?", "Where?", "When?"]
LINES = [json.dumps({"question": question, "tier": "simple"}) for question in QUESTIONS]
GOOD = "ANSWER: a full answer / COMMENT: good"


def plan(gates: tuple[Gate, ...] = (), **values: object) -> EvaluationPlan:
    subject = Subject(
        role="quiz",
        role_version=3,
        model_sha256=str(values.pop("model", "")),
        validation_sha256="v" * 64,
        constraint=str(values.pop("constraint", "none")),
        max_tokens=int(values.pop("max_tokens", 64)),  # type: ignore[call-overload]
        temperature=0.0,
        seed=42,
        metric="",
    )
    lines = values.pop("lines", LINES)
    rows = list(read_rows(lines, QuizRole(), source="rows"))  # type: ignore[arg-type]
    return EvaluationPlan(role=QuizRole(), metric=None, rows=rows, subject=subject, gates=gates, **values)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> AnswerLog:
    return AnswerLog(Store.open(str(tmp_path)))


def good() -> ScriptedStudent:
    return ScriptedStudent(lambda text: GOOD)


def test_every_row_is_asked_once_and_scored_over_its_raw_text() -> None:
    student = good()

    measured = measure(plan(), student)

    assert [question.messages[-1].content for question in student.asked] == QUESTIONS
    assert measured.evaluation.scores.mean == 1.0
    assert measured.evaluation.valid_rate == 1.0
    assert measured.evaluation.median_seconds == 2.0


def test_an_unreadable_answer_scores_what_the_metric_gives_nothing_and_is_not_valid() -> None:
    measured = measure(plan(), ScriptedStudent(lambda text: "no idea"))

    assert measured.evaluation.scores.mean == 0.0
    assert measured.evaluation.valid_rate == 0.0


def test_a_guard_that_fires_lowers_the_guard_rate_and_not_the_score() -> None:
    measured = measure(plan(), ScriptedStudent(lambda text: "ANSWER: A FULL ANSWER / COMMENT: good"))

    assert measured.evaluation.guard_rate == 0.0
    assert measured.evaluation.scores.mean == 1.0


def test_under_the_role_grammar_every_question_carries_it_and_otherwise_none_does() -> None:
    held, free = good(), good()

    measure(plan(constraint="role_grammar"), held)
    measure(plan(), free)

    assert {question.grammar for question in held.asked} == {'root ::= "ANSWER: "'}
    assert {question.grammar for question in free.asked} == {""}


def test_a_killed_evaluation_goes_on_without_asking_again(log: AnswerLog) -> None:
    stopping = Event()
    first = ScriptedStudent(lambda text: (stopping.set() if text == "How?" else None, GOOD)[1])
    with pytest.raises(Cancelled):
        measure(plan(), first, log=log, stopping=stopping)
    second = good()

    measure(plan(), second, log=log)

    assert len(first.asked) == 2
    assert [question.messages[-1].content for question in second.asked] == ["Where?", "When?"]


def test_other_gates_ask_nothing_again_and_give_equal_figures(log: AnswerLog) -> None:
    first = measure(plan(), good(), log=log)
    again = good()

    second = measure(plan((Gate(figure="score_mean", min=0.9),)), again, log=log)

    assert again.asked == []
    assert second.evaluation == first.evaluation
    assert second.passed


def test_a_student_that_serves_another_model_is_refused_before_a_question() -> None:
    student = good()

    with pytest.raises(FailedPrecondition, match=r"serves model abab.*not cdcd"):
        measure(plan(model="cd" * 32), student)
    assert student.asked == []


def test_a_student_that_does_not_name_its_model_cannot_stand_for_a_named_one() -> None:
    with pytest.raises(FailedPrecondition, match="does not name"):
        measure(plan(model=MODEL), ScriptedStudent(lambda text: GOOD, model=""))


def test_a_row_that_fails_for_good_counts_with_its_reason() -> None:
    def script(text: str) -> str:
        if text == "How?":
            raise InvalidArgument("the prompt is bad")
        return GOOD

    measured = measure(plan(), ScriptedStudent(script))

    assert measured.evaluation.scores.mean == 0.75
    assert measured.evaluation.valid_rate == 0.75
    assert measured.document["failed_rows"] == {"refused": 1}
    assert measured.document["rows"][1]["failure"] == {"reason": "refused", "message": "the prompt is bad"}


def test_a_student_that_answers_no_row_at_all_is_an_error_and_no_score_of_zero() -> None:
    def script(text: str) -> str:
        raise InvalidArgument("no such grammar")

    with pytest.raises(FailedPrecondition, match=r"none of 4 rows.*no such grammar"):
        measure(plan(), ScriptedStudent(script))


def test_a_validation_set_without_rows_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no rows"):
        measure(plan(lines=[]), good())


def test_answers_cut_at_the_limit_are_counted() -> None:
    assert (
        measure(plan(), ScriptedStudent(lambda text: GOOD, finish_reason="length")).document["cut_at_max_tokens"] == 4
    )


def baseline_of(measured: Measured) -> bytes:
    return json_bytes(measured.document)


def test_the_margin_over_the_base_model_comes_from_its_own_evaluation() -> None:
    base = measure(plan(), ScriptedStudent(lambda text: "ANSWER: short / COMMENT: x", model="cd" * 32))
    gate = Gate(figure="margin_over_base", min=0.4)

    measured = measure(plan((gate,), baseline=read_baseline(baseline_of(base), source="base")), good())

    assert base.evaluation.scores.mean == 0.5
    assert measured.gates[0].value == pytest.approx(0.5)
    assert measured.document["baseline"]["margin"] == pytest.approx(0.5)


@pytest.mark.parametrize("other", [{"constraint": "role_grammar"}])
def test_a_baseline_under_other_conditions_is_refused(other: dict[str, str]) -> None:
    base = measure(plan(**other), good())

    with pytest.raises(InvalidArgument, match="constraint"):
        measure(plan(baseline=read_baseline(baseline_of(base), source="base")), good())


def test_a_baseline_that_is_no_evaluation_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"base\.json is no EVAL\.json"):
        read_baseline(b'{"scores": {}}', source="base.json")


def test_the_gap_is_labelled_with_what_the_reference_is() -> None:
    measured = measure(plan(reference_score=0.8, reference_source="dataset"), good())

    assert measured.document["reference"] == {"score": 0.8, "source": "dataset"}
    assert measured.gap == pytest.approx(-0.25)


def test_progress_is_reported_after_every_row() -> None:
    seen: list[tuple[int, float]] = []

    measure(plan(), good(), report=lambda progress: seen.append((progress.done, progress.figures["score_mean"])))

    assert seen == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]
