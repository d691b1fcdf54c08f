"""The judge's one reason for each kind of answer."""

from __future__ import annotations

import pytest

from generation_fixture import GOOD, POOR, SHOUTED, logged
from quiz_role import QuizRole
from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import load_metric
from stillhouse.roles.role import ParsedAnswer, load_role
from stillhouse.teachers.judging import Judge, Judgement, ending_reason
from stillhouse.teachers.teacher import FinishReason

INPUTS = {"question": "why so?"}


def judged(text: str, *, guards: tuple[str, ...] = ("shouting", "echo"), min_score: float = 0.8) -> Judgement:
    judge = Judge(QuizRole(), guards, min_score)
    return judge.judge(INPUTS, judge.read(logged(text), structured=False))


def test_a_good_answer_has_no_reason_against_it_and_canonical_outputs() -> None:
    verdict = judged("ANSWER:  a full answer  / COMMENT: good ")
    assert verdict == Judgement("", (), 1.0, {"answer": "a full answer", "comment": "good"})
    assert verdict.is_accepted


def test_a_missing_output_is_named_and_may_be_mended() -> None:
    verdict = judged("nothing of the kind")
    assert (verdict.reason, verdict.details, verdict.score) == ("missing_block", ("no answer and comment",), None)
    assert verdict.is_broken


def test_a_blank_output_is_a_missing_one() -> None:
    verdict = Judge(QuizRole(), (), 0.0).judge(INPUTS, ParsedAnswer({"answer": "yes", "comment": " \n"}))
    assert (verdict.reason, verdict.details) == ("missing_block", ("there is no comment",))


def test_outputs_that_do_not_satisfy_the_role_are_malformed() -> None:
    class Strict(QuizRole):
        def problems(self, outputs):
            return ["the comment is no rhyme"]

    verdict = Judge(Strict(), (), 0.0).judge(INPUTS, ParsedAnswer({"answer": "yes", "comment": "so"}))
    assert (verdict.reason, verdict.details) == ("malformed", ("the comment is no rhyme",))
    assert verdict.is_broken


def test_a_selected_guard_refuses_whatever_the_score() -> None:
    verdict = judged(SHOUTED)
    assert (verdict.reason, verdict.details) == ("guard:shouting", ("the answer is in capitals",))
    assert verdict.score == 1.0
    assert not verdict.is_broken


def test_a_guard_that_is_not_selected_refuses_nothing() -> None:
    assert judged(SHOUTED, guards=("echo",)).is_accepted


def test_a_low_score_says_both_figures() -> None:
    verdict = judged(POOR)
    assert (verdict.reason, verdict.details, verdict.score) == ("low_score", ("0.500 is below 0.8",), 0.5)


def test_a_score_at_the_threshold_is_accepted() -> None:
    assert judged(POOR, min_score=0.5).is_accepted


def test_a_metric_of_ones_own_takes_the_place_of_the_roles() -> None:
    judge = Judge(QuizRole(), (), 0.8, metric=load_metric("leaf_metrics:half"))
    verdict = judge.judge(INPUTS, judge.read(logged(GOOD), structured=False))
    assert (verdict.reason, verdict.score) == ("low_score", 0.5)


def test_a_metric_of_ones_own_that_fails_says_so() -> None:
    judge = Judge(QuizRole(), (), 0.8, metric=load_metric("os.path:join"))
    with pytest.raises(InvalidArgument, match=r"os\.path:join"):
        judge.judge(INPUTS, judge.read(logged(GOOD), structured=False))


def test_only_an_answer_that_ended_by_itself_is_read() -> None:
    assert ending_reason(logged(GOOD)) == ""
    assert ending_reason(logged(GOOD, FinishReason.RECITATION)) == "recitation"


GERMAN = """\
```yaml VISION
product_name: Zimmer
product_summary: Eine Seite, auf der Gäste ein Zimmer in einem kleinen Hotel buchen, ohne dass sie dort anrufen müssen.
target_users: [Gäste des Hauses und die Leute am Empfang]
value_proposition: [Niemand muss mehr anrufen und auf eine Antwort warten]
key_capabilities: [Die Gäste buchen ein Zimmer und sehen, ob es noch frei ist]
non_goals: []
success_metrics: [Die Zahl der Buchungen an einem Tag]
last_updated: '2025-01-01'
```
```yaml REVIEW
status: aligned
summary: [Alle Anforderungen dienen dem Ziel, und keine steht einer anderen im Weg.]
requirements_alignment: {aligned: ['FR001: die Gäste können ein Zimmer buchen'], gaps: [], conflicts: []}
recommended_actions: [Mit dem Haus die Höhe der Anzahlung abstimmen.]
narrative: Die eine Anforderung ist genau das, was die Vision den Gästen des Hotels verspricht, und sie reicht aus.
```
"""


def test_valid_blocks_in_another_language_are_refused_by_the_guard() -> None:
    role = load_role("product_owner")
    requirements = "functional_requirements:\n- id: FR001\n  description: Guests can book a room\n"
    inputs = {"concept": "A page on which guests book a room in a small hotel.", "requirements_yaml": requirements}
    judge = Judge(role, role.guard_names, 0.0)
    verdict = judge.judge(inputs, judge.read(logged(GERMAN), structured=False))
    assert verdict.reason == "guard:wrong_language"
