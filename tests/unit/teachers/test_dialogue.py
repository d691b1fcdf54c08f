"""One concept's dialogue: what is asked after each kind of answer, and what is kept of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from generation_fixture import GOOD, POOR, ScriptedAsker, logged, manner
from quiz_role import QuizRole
from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Guidance, load_role
from stillhouse.teachers.dialogue import CallKind, Concept, Dialogue, Manner, Outcome, Prompt, inputs_digest, manner_of
from stillhouse.teachers.judging import Judge
from stillhouse.teachers.teacher import FinishReason
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TEACHER_PROMPT_PLAIN, TeacherModel

CONCEPT = Concept(7, {"question": "why?"}, {"tier": "simple"})


def pursue(
    *answers: LoggedAnswer, how: Manner | None = None, concept: Concept = CONCEPT, role=None, min_score: float = 0.8
) -> tuple[Outcome, ScriptedAsker]:
    left = list(answers)
    asker = ScriptedAsker(lambda _: left.pop(0))
    role = role or QuizRole()
    dialogue = Dialogue(role, Judge(role, (), min_score), how or manner(), asker.ask, seed=42)
    outcome = asyncio.run(dialogue.pursue(concept))
    assert not left
    return outcome, asker


def test_a_good_first_answer_is_accepted_as_it_came() -> None:
    outcome, asker = pursue(logged(GOOD))
    assert outcome.accepted is not None
    assert (outcome.response, outcome.repaired, outcome.reason) == (GOOD, False, "")
    assert outcome.accepted.outputs == {"answer": "a full answer", "comment": "good"}
    [question] = asker.asked
    assert (question.seed, question.temperature, question.max_output_tokens) == (42, 0.7, 100)
    assert question.response_schema is None


def test_under_an_optimised_program_its_prompt_is_asked_whatever_the_manner_says() -> None:
    how = manner(prompt=Prompt.STRUCTURED, guidance=Guidance("Be brief."))
    _, asker = pursue(logged(GOOD), how=how)
    [question] = asker.asked
    assert question.messages[0].content == "Be brief."
    assert question.response_schema is None


def test_a_missing_block_is_repaired_once_and_the_valid_block_is_kept() -> None:
    role = load_role("product_owner")
    example = next(iter(role.examples(count=1, seed=1)))
    whole = role.author(example, seed=1)
    vision, review = whole.split("```yaml REVIEW")
    outcome, asker = pursue(
        logged(vision), logged("```yaml REVIEW" + review), role=role, concept=Concept(1, example.inputs)
    )
    assert outcome.accepted is not None
    assert outcome.repaired
    assert [call.kind for call in outcome.calls] == [CallKind.FIRST, CallKind.REPAIR]
    assert [call.judgement.reason for call in outcome.calls] == ["missing_block", ""]
    parsed = role.parse(whole)
    assert outcome.accepted.outputs == role.canonical(parsed.outputs)
    assert outcome.response == role.answer_text(outcome.accepted.outputs)
    repair = "\n".join(message.content for message in asker.asked[1].messages)
    assert parsed.outputs["product_vision"].strip() in repair
    assert asker.asked[1].seed == 42


def test_broken_yaml_is_repaired() -> None:
    role = load_role("product_owner")
    example = next(iter(role.examples(count=1, seed=1)))
    whole = role.author(example, seed=1)
    broken = whole.replace("narrative: ", "narrative: [", 1)
    assert broken != whole
    outcome, _ = pursue(logged(broken), logged(whole), role=role, concept=Concept(1, example.inputs))
    assert [call.judgement.reason for call in outcome.calls] == ["malformed", ""]
    assert outcome.repaired


def test_a_repair_that_fails_names_only_what_is_still_missing() -> None:
    outcome, _ = pursue(logged("ANSWER: alone"), logged("no use"))
    assert outcome.accepted is None
    assert outcome.reason == "missing_block"
    assert outcome.calls[1].judgement.details == ("there is no answer", "there is no comment")


def test_a_repair_is_not_repaired() -> None:
    outcome, asker = pursue(logged("nothing"), logged("nothing"))
    assert [call.kind for call in outcome.calls] == [CallKind.FIRST, CallKind.REPAIR]
    assert len(asker.asked) == 2


def test_an_answer_that_ran_out_of_tokens_is_asked_again_with_twice_as_many() -> None:
    outcome, asker = pursue(logged("ANSWER: a", FinishReason.LENGTH), logged(GOOD))
    assert [call.kind for call in outcome.calls] == [CallKind.FIRST, CallKind.LONGER]
    first, longer = asker.asked
    assert (first.max_output_tokens, longer.max_output_tokens) == (100, 200)
    assert (first.messages, first.seed) == (longer.messages, longer.seed)
    assert outcome.accepted is not None
    assert not outcome.repaired


def test_tokens_are_doubled_twice_and_never_nagged_about() -> None:
    outcome, asker = pursue(*[logged("ANSWER: a", FinishReason.LENGTH)] * 3)
    assert [question.max_output_tokens for question in asker.asked] == [100, 200, 400]
    assert outcome.reason == "length"
    assert CallKind.REPAIR not in {call.kind for call in outcome.calls}


def test_tokens_never_pass_what_a_model_can_give() -> None:
    how = manner(max_output_tokens=50_000)
    _, asker = pursue(*[logged("", FinishReason.LENGTH)] * 2, how=how)
    assert [question.max_output_tokens for question in asker.asked] == [50_000, 65_536]


def test_a_longer_answer_that_lacks_a_block_is_repaired() -> None:
    outcome, asker = pursue(logged("", FinishReason.LENGTH), logged("ANSWER: a"), logged(GOOD))
    assert [call.kind for call in outcome.calls] == [CallKind.FIRST, CallKind.LONGER, CallKind.REPAIR]
    assert asker.asked[2].max_output_tokens == 100
    assert outcome.repaired


@pytest.mark.parametrize("reason", [FinishReason.BLOCKED, FinishReason.RECITATION, FinishReason.EMPTY, "deadline"])
def test_an_answer_that_was_stopped_is_recorded_with_its_reason_and_not_repaired(reason: str) -> None:
    outcome, asker = pursue(logged(GOOD, reason, extra={"detail": "SAFETY: HARM"}))
    assert outcome.reason == reason
    assert outcome.calls[0].judgement.details == ("SAFETY: HARM",)
    assert len(asker.asked) == 1


def test_a_low_score_gets_a_fresh_attempt_with_another_seed() -> None:
    outcome, asker = pursue(logged(POOR), logged(GOOD), how=manner(attempts=2))
    assert [question.seed for question in asker.asked] == [42, 43]
    assert [(call.kind, call.attempt) for call in outcome.calls] == [(CallKind.FIRST, 0), (CallKind.FIRST, 1)]
    assert outcome.calls[0].judgement.reason == "low_score"
    assert outcome.accepted is not None


def test_used_up_attempts_leave_the_last_reason() -> None:
    outcome, asker = pursue(logged(POOR), logged(GOOD, FinishReason.BLOCKED), how=manner(attempts=2))
    assert outcome.accepted is None
    assert (outcome.reason, outcome.response) == ("blocked", "")
    assert len(asker.asked) == 2


def test_attempts_go_on_where_earlier_ones_ended() -> None:
    concept = Concept(7, CONCEPT.inputs, attempts_before=3)
    outcome, asker = pursue(logged(POOR), logged(GOOD), how=manner(attempts=2), concept=concept)
    assert [question.seed for question in asker.asked] == [45, 46]
    assert [call.attempt for call in outcome.calls] == [3, 4]


def test_structured_answers_are_asked_for_by_schema_and_kept_as_text() -> None:
    text = json.dumps({"answer": "a full answer", "comment": "good"})
    outcome, asker = pursue(logged(text), how=manner(prompt=Prompt.STRUCTURED))
    schema = asker.asked[0].response_schema
    assert schema is not None
    assert schema["required"] == ["answer", "comment"]
    assert asker.asked[0].messages[0].content == "Answer in JSON."
    assert outcome.response == GOOD


def test_a_structured_repair_asks_by_schema_for_what_is_missing_only() -> None:
    parts = [json.dumps({"answer": "a full answer"}), json.dumps({"comment": "good"})]
    outcome, asker = pursue(*map(logged, parts), how=manner(prompt=Prompt.STRUCTURED))
    schema = asker.asked[1].response_schema
    assert schema is not None
    assert schema["required"] == ["comment"]
    assert outcome.response == GOOD
    assert outcome.repaired


def test_a_plain_prompt_is_the_one_that_the_student_is_trained_with() -> None:
    _, asker = pursue(logged(GOOD), how=manner(prompt=Prompt.PLAIN))
    assert list(asker.asked[0].messages) == QuizRole().messages(CONCEPT.inputs)


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "Die Antwort lautet: zweiundvierzig.\n" * 30_000, "```yaml VISION\n" * 60_000]
)
def test_an_answer_of_a_megabyte_or_in_another_language_is_refused_and_crashes_nothing(text: str) -> None:
    role = load_role("product_owner")
    example = next(iter(role.examples(count=1, seed=1)))
    outcome, _ = pursue(logged(text), logged(text), role=role, concept=Concept(1, example.inputs))
    assert outcome.reason in ("missing_block", "malformed")


def test_of_a_good_answer_in_a_megabyte_of_talk_only_the_outputs_are_kept() -> None:
    role = load_role("product_owner")
    example = next(iter(role.examples(count=1, seed=1)))
    whole = role.author(example, seed=1)
    outcome, _ = pursue(
        logged(whole + "\n" + "So much for that. " * 60_000), role=role, concept=Concept(1, example.inputs)
    )
    assert outcome.accepted is not None
    assert outcome.response == role.answer_text(outcome.accepted.outputs)


def test_equal_inputs_have_equal_digests_and_others_have_not() -> None:
    assert inputs_digest({"a": "1", "b": "2"}) == inputs_digest({"b": "2", "a": "1"})
    assert inputs_digest({"a": "1b", "c": ""}) != inputs_digest({"a": "1", "bc": ""})
    assert 0 <= inputs_digest({"a": "1"}) < 2**64


@pytest.mark.parametrize(
    ("fields", "attempts", "field"),
    [
        ({"prompt": 0}, 1, "prompt"),
        ({"max_output_tokens": 0}, 1, "max_output_tokens"),
        ({"max_output_tokens": 65_537}, 1, "max_output_tokens"),
        ({"temperature": 2.1}, 1, "temperature"),
        ({"temperature": float("nan")}, 1, "temperature"),
    ],
)
def test_a_wrong_way_of_asking_names_its_field(fields: dict[str, object], attempts: int, field: str) -> None:
    model = TeacherModel(**{"prompt": TEACHER_PROMPT_FENCED, "max_output_tokens": 100, "temperature": 0.7, **fields})
    with pytest.raises(InvalidArgument) as caught:
        manner_of(model, attempts=attempts, place="stages[0]")
    assert caught.value.field == f"stages[0].teacher.{field}"


def test_no_attempt_at_all_is_refused() -> None:
    model = TeacherModel(prompt=TEACHER_PROMPT_PLAIN, max_output_tokens=100)
    with pytest.raises(InvalidArgument) as caught:
        manner_of(model, attempts=0, place="stages[2]")
    assert caught.value.field == "stages[2].attempts"


def test_a_thinking_budget_of_zero_is_not_no_budget() -> None:
    model = TeacherModel(prompt=TEACHER_PROMPT_PLAIN, max_output_tokens=100)
    assert manner_of(model, attempts=1, place="").thinking_budget is None
    model.thinking_budget = 0
    assert manner_of(model, attempts=1, place="").thinking_budget == 0
