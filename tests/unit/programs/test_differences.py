from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from program_folders import demos, product_owner_program
from stillhouse.programs.difference import Change, PredictorDifference, differences
from stillhouse.programs.document import program_sha256
from stillhouse.programs.program import Demo, ModuleNode, Program

ONE, TWO, THREE = demos(3)
BEFORE = product_owner_program("first\nsecond\nthird", (ONE, TWO))


def after(**changes: Any) -> Program:
    return replace(BEFORE, predictors={"generate": replace(BEFORE.predictors["generate"], **changes)})


def only(program: Program) -> PredictorDifference:
    found = differences(BEFORE, program)
    assert found
    assert found.changes == ()
    (predictor,) = found.predictors
    return predictor


def test_a_program_does_not_differ_from_itself() -> None:
    assert not differences(BEFORE, product_owner_program("first\nsecond\nthird", (ONE, TWO)))


def test_changed_lines_of_the_instructions_are_told_apart_from_others() -> None:
    lines = only(after(instructions="first\nother\nthird")).instructions
    assert lines == (" first", "-second", "+other", " third")


@pytest.mark.parametrize("text", ["first\nsecond\nthird\n", "first\r\nsecond\nthird", "--- x\nsecond", "@@ -1 +1 @@"])
def test_no_change_of_the_instructions_goes_unseen(text: str) -> None:
    changed = [line for line in only(after(instructions=text)).instructions if line[0] in "+-"]
    assert {line[1:] for line in changed if line[0] == "+"} <= set(text.split("\n"))
    assert changed


@pytest.mark.parametrize(
    ("shown", "added", "removed", "moved"),
    [
        ((ONE, TWO, THREE), (THREE,), (), False),
        ((TWO,), (), (ONE,), False),
        ((TWO, ONE), (), (), True),
        ((ONE, THREE), (THREE,), (TWO,), False),
        ((ONE, TWO, TWO), (TWO,), (), False),
        ((ONE, replace(TWO, is_example=True)), (replace(TWO, is_example=True),), (TWO,), False),
    ],
)
def test_demos_are_added_removed_or_moved(
    shown: tuple[Demo, ...], added: tuple[Demo, ...], removed: tuple[Demo, ...], moved: bool
) -> None:
    found = only(after(demos=shown))
    assert (found.demos_added, found.demos_removed, found.demos_moved) == (added, removed, moved)


def test_fields_settings_and_models_change_by_name() -> None:
    fields = BEFORE.predictors["generate"].fields
    found = only(
        after(
            fields=(replace(fields[0], description="new"), *fields[1:]),
            config={"n": 1},
            lm={"model": "m", "temperature": 1.0},
        )
    )
    assert found.changes == (
        Change("field concept description", "what concept holds", "new"),
        Change("config n", None, 1),
        Change("lm model", None, "m"),
        Change("lm temperature", None, 1.0),
    )


def test_role_modules_and_predictors_change_by_name() -> None:
    modules = {"self": ModuleNode("ProductOwner", compiled=True), "other": ModuleNode("Predict")}
    program = replace(BEFORE, role_version=2, modules=modules, predictors={})
    assert differences(BEFORE, program).changes == (
        Change("role", "product_owner 1", "product_owner 2"),
        Change("module self", "ProductOwner", "ProductOwner, frozen"),
        Change("module generate", "Predict", None),
        Change("module other", None, "Predict"),
    )


@pytest.mark.parametrize(
    "program",
    [
        after(prompts_sha256="0" * 64),
        after(lm={}),
        after(config={"n": 1}),
        replace(BEFORE, modules=dict(reversed(BEFORE.modules.items()))),
    ],
)
def test_programs_with_other_bytes_differ(program: Program) -> None:
    assert program_sha256(program) != program_sha256(BEFORE)
    assert differences(BEFORE, program)


def test_one_and_true_are_not_the_same_setting() -> None:
    assert differences(after(config={"n": 1}), after(config={"n": True}))
