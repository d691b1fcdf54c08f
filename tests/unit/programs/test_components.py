from __future__ import annotations

import json
from typing import Any

import pytest

from program_folders import demos
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.programs.components import import_components
from stillhouse.programs.dspy_programs import restore
from stillhouse.programs.guidance import check_rendering, guidance_of
from stillhouse.programs.program import Program
from stillhouse.roles.product_owner import ROLE

FIELDS = {
    **{name: {"type": "input", "desc": f"{name} ü"} for name in ROLE.input_fields},
    **{name: {"type": "output", "desc": f"{name} ü"} for name in ROLE.output_fields},
}
DEMOS = [dict(demo.fields) for demo in demos(2)]


def components(**changes: Any) -> dict[str, Any]:
    generate = {"type": "Predict", "instructions": "Sei kurz.", "fields": FIELDS, "demos": DEMOS, **changes}
    generate = {name: value for name, value in generate.items() if value is not None}
    return {"role": "product_owner", "type": "ProductOwnerModule", "modules": {"generate": generate}}


def imported(document: Any) -> tuple[Program, list[str]]:
    return import_components(json.dumps(document).encode(), ROLE, source="c.json")


def test_instructions_descriptions_and_demos_are_taken_and_render() -> None:
    program, _ = imported(components())
    predictor = program.predictors["generate"]
    assert predictor.instructions == "Sei kurz."
    assert [demo.fields for demo in predictor.demos] == DEMOS
    assert {field.name: field.description for field in predictor.fields} == {name: f"{name} ü" for name in FIELDS}
    check_rendering(program, ROLE)
    assert len(guidance_of(program, ROLE).demos) == 2
    restore(program, ROLE.dspy_program())


def test_what_the_file_lacks_is_said() -> None:
    _, warnings = imported(components())
    assert any("no model, settings, seed, data sets, scores or trials" in warning for warning in warnings)
    assert any("no digest of its prompts" in warning for warning in warnings)
    assert "its module ProductOwnerModule is taken as ProductOwner" in warnings
    assert any(warning.startswith("generate: no types, prefixes and order") for warning in warnings)


def test_absent_demos_fields_and_descriptions_are_said_too() -> None:
    fields = {name: {"type": field["type"]} for name, field in FIELDS.items() if name != "existing_vision"}
    program, warnings = imported(components(demos=None, fields=fields))
    assert program.predictors["generate"].demos == ()
    assert "generate: no demos: it has none" in warnings
    assert "generate: no field existing_vision: it is the role's" in warnings
    assert "generate: no description of concept: it is the role's" in warnings


def test_demos_that_are_not_whole_are_said_to_be_shown_to_no_model() -> None:
    half = {"concept": "A diary", "product_vision": "product_name: Diary", "product_owner_review": 7}
    program, warnings = imported(components(demos=[DEMOS[0], half]))
    assert len(program.predictors["generate"].demos) == 2
    assert len(guidance_of(program, ROLE).demos) == 2
    (said,) = [warning for warning in warnings if "demo" in warning]
    assert said.startswith("generate: demo 2 has no requirements_yaml and no product_owner_review")


def test_what_nothing_reads_is_said_to_be_left_out() -> None:
    _, warnings = imported({**components(type="ChainOfThought", mood="good"), "author": "x"})
    assert {
        "author is left out: nothing here reads it",
        "generate: mood is left out: nothing here reads it",
        "generate: a ChainOfThought is taken as Predict",
    } <= set(warnings)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({**components(), "role": "quiz"}, "c.json is of role quiz, not product_owner"),
        ({**components(), "modules": {"other": components()["modules"]["generate"]}}, "predictors other; .* generate"),
        (components(fields={**FIELDS, "mood": {"type": "input"}}), "mood is no input field of the role"),
        (components(fields={**FIELDS, "concept": {"type": "output"}}), "concept is no output field of the role"),
        (components(fields={"concept": FIELDS["concept"]}), "the role's field requirements_yaml is missing"),
    ],
)
def test_a_program_that_is_not_the_roles_is_refused(document: Any, words: str) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        imported(document)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "c.json is no JSON"),
        (b"\xff", "c.json is no JSON"),
        (b"[" * 100_000, "c.json is no JSON"),
        (b"[]", "c.json is no program_components.json"),
        (json.dumps(components(instructions=7)).encode(), r"modules\.generate\.instructions"),
        (json.dumps({**components(), "modules": {}}).encode(), "modules"),
        (json.dumps(components(demos=[{"concept": float("nan")}])).encode(), "demo 1, field concept: nan"),
    ],
)
def test_what_is_no_components_file_is_refused_with_its_place(data: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        import_components(data, ROLE, source="c.json")
