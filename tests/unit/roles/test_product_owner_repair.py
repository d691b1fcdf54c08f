"""The second request to a teacher: what it keeps, names and asks for."""

from __future__ import annotations

import json

import pytest

from stillhouse.roles.product_owner import ROLE, worked_example
from stillhouse.roles.product_owner.repairing import MAX_BROKEN_CHARACTERS
from stillhouse.roles.product_owner.signature import REVIEW, VISION
from stillhouse.roles.role import ParsedAnswer

INPUTS = worked_example.INPUTS
OUTPUTS = dict(ROLE.parse(worked_example.ANSWER).outputs)


@pytest.mark.parametrize(("there", "lacking"), [(VISION, REVIEW), (REVIEW, VISION)])
def test_the_valid_block_is_kept_verbatim_and_only_the_other_is_asked_for(there: str, lacking: str) -> None:
    repair = ROLE.repair(INPUTS, ParsedAnswer({there: OUTPUTS[there]}), structured=False)

    assert repair.kept == {there: OUTPUTS[there]}
    assert repair.wanted == (lacking,)
    assert list(repair.messages[:2]) == ROLE.teacher_messages(INPUTS, structured=False)
    assert [message.role for message in repair.messages[2:]] == ["assistant", "user"]
    assert ROLE.parse(repair.messages[2].content).outputs == {there: OUTPUTS[there]}
    label = {VISION: "VISION", REVIEW: "REVIEW"}[lacking]
    assert f"- {label} is missing" in repair.messages[3].content
    assert f"Write only {label}" in repair.messages[3].content


def test_a_broken_block_is_named_with_its_problem_and_not_kept() -> None:
    broken = OUTPUTS[REVIEW].replace("status: misaligned", "status: splendid")

    repair = ROLE.repair(INPUTS, ParsedAnswer({**OUTPUTS, REVIEW: broken}), structured=False)

    assert repair.wanted == (REVIEW,)
    assert "splendid" not in repair.messages[2].content
    assert "- REVIEW.status: Input should be 'aligned'" in repair.messages[3].content


def test_where_nothing_is_valid_the_broken_text_is_shown_in_short() -> None:
    broken = "product_name: [" + "x" * 5000

    repair = ROLE.repair(INPUTS, ParsedAnswer({VISION: broken}), structured=False)

    assert (repair.kept, repair.wanted) == ({}, (VISION, REVIEW))
    assert len(repair.messages[2].content) == MAX_BROKEN_CHARACTERS
    assert "VISION is no readable YAML" in repair.messages[3].content


@pytest.mark.parametrize("structured", [False, True])
def test_where_nothing_was_found_the_request_joins_the_users_turn(structured: bool) -> None:
    repair = ROLE.repair(INPUTS, ROLE.parse("I can't do that."), structured=structured)

    first = ROLE.teacher_messages(INPUTS, structured=structured)
    assert [message.role for message in repair.messages] == ["system", "user"]
    assert repair.messages[1].content.startswith(first[1].content)
    assert "- VISION is missing\n- REVIEW is missing" in repair.messages[1].content


def test_a_structured_repair_carries_the_valid_part_as_json_and_names_the_readers_problem() -> None:
    document = {VISION: json.loads('{"product_name": "Ledger"}'), REVIEW: ROLE.canonical(OUTPUTS)[REVIEW]}
    answer = ROLE.parse_structured(json.dumps(document))

    repair = ROLE.repair(INPUTS, answer, structured=True)

    assert repair.wanted == (VISION,)
    assert set(json.loads(repair.messages[2].content)) == {REVIEW}
    assert "- VISION.product_summary: Field required" in repair.messages[3].content
    assert "one JSON object that has product_vision" in repair.messages[3].content


def test_a_valid_answer_wants_nothing() -> None:
    repair = ROLE.repair(INPUTS, ParsedAnswer(OUTPUTS), structured=False)

    assert repair.wanted == ()
    assert repair.kept == OUTPUTS
