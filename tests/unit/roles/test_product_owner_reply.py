"""The scripted author behind a chat: it answers every prompt of the role, well or carelessly."""

from __future__ import annotations

import json
from functools import cache

import pytest

from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.product_owner.replying import UNKNOWN_PROMPT
from stillhouse.roles.product_owner.signature import OUTPUT_NAMES, REVIEW, VISION
from stillhouse.roles.role import Example, Message, ParsedAnswer

SCHEMA = ROLE.response_schema(OUTPUT_NAMES)


@cache
def examples() -> tuple[Example, ...]:
    return tuple(ROLE.examples(count=60, seed=21, planted=0.6))


def test_it_answers_the_students_and_the_teachers_prompt_as_the_author_does() -> None:
    for seed, example in enumerate(examples()):
        stripped = Example({name: text.strip() for name, text in example.inputs.items()})
        expected = ROLE.author(stripped, seed=seed)
        for messages in (ROLE.messages(example.inputs), ROLE.teacher_messages(example.inputs, structured=False)):
            assert ROLE.reply(messages, None, seed=seed, careless=False) == expected
        asked = ROLE.teacher_messages(example.inputs, structured=True)
        answer = ROLE.reply(asked, SCHEMA, seed=seed, careless=False)
        assert ROLE.parse_structured(answer).outputs == ROLE.parse(expected).outputs


def test_an_existing_vision_is_no_part_of_the_requirements() -> None:
    inputs = {**examples()[0].inputs, "existing_vision": "product_name: Old"}
    answer = ROLE.reply(ROLE.messages(inputs), None, seed=1, careless=False)
    assert answer == ROLE.reply(ROLE.messages(examples()[0].inputs), None, seed=1, careless=False)


def test_the_last_inputs_are_answered_where_earlier_turns_hold_others() -> None:
    first, second = (ROLE.messages(example.inputs) for example in examples()[:2])
    answer = ROLE.reply([*first, Message("assistant", "..."), second[-1]], None, seed=3, careless=False)
    assert answer == ROLE.reply(second, None, seed=3, careless=False)


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("there", [(), (VISION,), (REVIEW,)])
def test_a_repair_gets_only_what_it_asks_for_and_completes_the_answer(structured: bool, there: tuple[str, ...]) -> None:
    for seed, example in enumerate(examples()[:20]):
        good = ROLE.parse(ROLE.reply(ROLE.messages(example.inputs), None, seed=seed, careless=False)).outputs
        repair = ROLE.repair(example.inputs, ParsedAnswer({name: good[name] for name in there}), structured=structured)
        schema = ROLE.response_schema(repair.wanted) if structured else None
        answer = ROLE.reply(repair.messages, schema, seed=seed, careless=False)
        parsed = ROLE.parse_structured(answer) if structured else ROLE.parse(answer)
        assert set(parsed.outputs) == set(repair.wanted)
        assert {**repair.kept, **parsed.outputs} == good


def test_a_careless_answer_is_valid_fires_no_guard_and_scores_below_the_usual_threshold() -> None:
    for seed, example in enumerate(examples()):
        answer = ROLE.reply(ROLE.messages(example.inputs), None, seed=seed, careless=True)
        outputs = ROLE.parse(answer).outputs
        assert ROLE.problems(outputs) == []
        assert ROLE.guards(example.inputs, outputs, ROLE.guard_names) == []
        assert 0.3 < ROLE.score(example.inputs, outputs).score < 0.8


def test_careless_answers_vary_by_seed_and_repeat_with_it() -> None:
    messages = ROLE.messages(examples()[0].inputs)
    answers = [ROLE.reply(messages, None, seed=seed, careless=True) for seed in (*range(8), 0)]
    assert len(set(answers)) == 8
    assert answers[0] == answers[-1]


def test_a_careless_repair_lowers_the_completed_answer() -> None:
    for seed, example in enumerate(examples()[:20]):
        good = ROLE.parse(ROLE.reply(ROLE.messages(example.inputs), None, seed=seed, careless=False)).outputs
        repair = ROLE.repair(example.inputs, ParsedAnswer({VISION: good[VISION]}), structured=False)
        parsed = ROLE.parse(ROLE.reply(repair.messages, None, seed=seed, careless=True))
        assert ROLE.score(example.inputs, {**repair.kept, **parsed.outputs}).score < 0.8


def test_a_careless_answer_to_requirements_it_can_not_read_is_still_valid() -> None:
    messages = ROLE.messages({"concept": "Ein Werkzeug", "requirements_yaml": "a: ["})
    assert ROLE.problems(ROLE.parse(ROLE.reply(messages, None, seed=1, careless=True)).outputs) == []


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message("user", "What is the capital of Chile?")],
        [Message("system", "CONCEPT\nx\n\nREQUIREMENTS\ny")],
        [Message("user", "CONCEPT\nwithout the other")],
    ],
)
def test_a_strange_prompt_gets_a_sentence(messages: list[Message]) -> None:
    assert ROLE.reply(messages, None, seed=1, careless=False) == UNKNOWN_PROMPT


def test_a_schema_of_something_else_gets_a_sentence() -> None:
    messages = ROLE.messages(examples()[0].inputs)
    assert ROLE.reply(messages, {"type": "string"}, seed=1, careless=False) == UNKNOWN_PROMPT


def test_the_schema_says_which_outputs_are_answered() -> None:
    messages = ROLE.teacher_messages(examples()[0].inputs, structured=True)
    answer = ROLE.reply(messages, ROLE.response_schema([REVIEW]), seed=1, careless=False)
    assert set(json.loads(answer)) == {REVIEW}
