"""The prompt for a teacher, its schema and the reading of structured answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE, worked_example
from stillhouse.roles.product_owner.signature import ALIGNMENT_KEYS, OUTPUT_KEYS, OUTPUT_NAMES, REVIEW, VISION
from stillhouse.roles.product_owner.teaching import as_json, json_value

INPUTS = {
    "concept": "A ledger.",
    "requirements_yaml": "constraints:\n- id: C001\n",
    "existing_vision": "product_name: L",
}
OUTPUTS = ROLE.canonical(ROLE.parse(worked_example.ANSWER).outputs)
VALUES = {name: json_value(name, text) for name, text in OUTPUTS.items()}
ANSWER = as_json(VALUES)
KNOWN_KEYS = {"type", "properties", "required", "items", "enum", "description"}


@pytest.mark.parametrize("structured", [False, True])
def test_the_teachers_prompt_ends_with_the_students_user_message(structured: bool) -> None:
    system, user = ROLE.teacher_messages(INPUTS, structured=structured)
    assert system.role == "system"
    assert user == ROLE.messages(INPUTS)[-1]
    assert "BOTH" in system.content


def test_the_fenced_prompt_shows_a_whole_answer_and_the_structured_one_none() -> None:
    fenced, structured = (ROLE.teacher_messages(INPUTS, structured=flag)[0].content for flag in (False, True))
    assert fenced.startswith(ROLE.messages(INPUTS)[0].content)
    assert ROLE.parse(fenced[fenced.index("the whole answer is:") :]).outputs == OUTPUTS
    assert "```" not in structured


def test_the_worked_example_is_valid_scores_one_and_fires_no_guard() -> None:
    assert ROLE.parse(worked_example.ANSWER).problems == ()
    assert ROLE.score(worked_example.INPUTS, OUTPUTS).score == 1.0
    assert ROLE.guards(worked_example.INPUTS, OUTPUTS, ROLE.guard_names) == []


@pytest.mark.parametrize("structured", [False, True])
def test_a_missing_input_is_named(structured: bool) -> None:
    with pytest.raises(InvalidArgument, match="requirements_yaml"):
        ROLE.teacher_messages({"concept": "A ledger."}, structured=structured)


def parts_of(schema: Any) -> Iterator[Any]:
    yield schema
    for part in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from parts_of(part)


def test_the_schema_is_made_of_the_few_keys_that_vertex_knows() -> None:
    for part in parts_of(ROLE.response_schema(OUTPUT_NAMES)):
        assert set(part) <= KNOWN_KEYS
        assert part["type"] in {"object", "array", "string"}


def test_the_schema_has_every_key_of_the_models_and_requires_it() -> None:
    schema = ROLE.response_schema(OUTPUT_NAMES)
    assert tuple(schema["properties"]) == tuple(schema["required"]) == tuple(OUTPUT_NAMES)
    for name, keys in OUTPUT_KEYS.items():
        assert tuple(schema["properties"][name]["properties"]) == keys
        assert tuple(schema["properties"][name]["required"]) == keys
    alignment = schema["properties"][REVIEW]["properties"]["requirements_alignment"]
    assert tuple(alignment["required"]) == ALIGNMENT_KEYS
    assert schema["properties"][REVIEW]["properties"]["status"]["enum"] == ["aligned", "needs_adjustment", "misaligned"]


def test_the_schema_of_one_output_has_that_one_alone() -> None:
    assert tuple(ROLE.response_schema([REVIEW])["properties"]) == (REVIEW,)


@pytest.mark.parametrize("outputs", [[], ["poem"]])
def test_a_schema_of_nothing_or_of_unknown_outputs_is_refused(outputs: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="product_vision"):
        ROLE.response_schema(outputs)


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        f"```json\n{ANSWER}\n```",
        f"```\n{ANSWER}\n```\n",
        f"Here it is {{as asked}}:\n```json\n{ANSWER}\n```\nDone.",
        json.dumps(VALUES, ensure_ascii=True),
        json.dumps({**VALUES, "remark": "fine"}),
        json.dumps(OUTPUTS),
    ],
)
def test_a_json_answer_becomes_canonical_text(answer: str) -> None:
    assert ROLE.parse_structured(answer).outputs == OUTPUTS
    assert ROLE.parse_structured(answer).problems == ()


def test_of_an_answer_that_breaks_off_the_whole_outputs_are_read() -> None:
    parsed = ROLE.parse_structured(ANSWER[: ANSWER.index('"narrative"')])
    assert parsed.outputs == {VISION: OUTPUTS[VISION]}
    assert parsed.problems == (
        "the answer holds no whole JSON object",
        f"there is no REVIEW: the JSON object has no member {REVIEW}",
    )


def test_an_output_that_does_not_satisfy_its_model_is_left_out_and_named() -> None:
    values = {**VALUES, REVIEW: {**VALUES[REVIEW], "status": "perfect"}}
    parsed = ROLE.parse_structured(json.dumps(values))
    assert set(parsed.outputs) == {VISION}
    assert [problem for problem in parsed.problems if problem.startswith("REVIEW.status")]


@pytest.mark.parametrize(
    "answer", ["", "I can't.", "[]", "{}", "null", "{" * 5000, "[" * 100_000, '{"product_vision": 1}']
)
def test_nothing_is_invented(answer: str) -> None:
    parsed = ROLE.parse_structured(answer)
    assert parsed.outputs == {}
    assert len(parsed.problems) >= 2


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("\ud800\x85"))
KEYS = [*OUTPUT_NAMES, *OUTPUT_KEYS[VISION], *OUTPUT_KEYS[REVIEW], *ALIGNMENT_KEYS]
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=12,
)


@st.composite
def answers(draw: st.DrawFn) -> str:
    """A good answer with values replaced, or with pieces of its text cut out or replaced."""
    document = json.loads(ANSWER)
    for _ in range(draw(st.integers(0, 2))):
        output = document[draw(st.sampled_from(OUTPUT_NAMES))]
        output[draw(st.sampled_from(sorted(output)))] = draw(values)
    text = json.dumps(document)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 50)))
        text = (
            text[:start] + draw(st.one_of(st.just(""), st.text(max_size=6), st.sampled_from('{}[]",:\\'))) + text[end:]
        )
    return text


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(answer=st.one_of(answers(), st.text(max_size=60), values.map(json.dumps)))
def test_whatever_is_read_is_canonical_and_reading_never_raises(answer: str) -> None:
    parsed = ROLE.parse_structured(answer)
    for name, text in parsed.outputs.items():
        assert json_value(name, text)
        assert {**OUTPUTS, **ROLE.canonical({**OUTPUTS, name: text})}[name] == text
    assert len(parsed.outputs) == len(OUTPUT_NAMES) or parsed.problems


def test_an_answer_that_is_no_text_is_a_problem() -> None:
    assert ROLE.parse_structured(None).problems == ("the answer is no text but NoneType",)  # type: ignore[arg-type]
