"""The role's own prompt under a program's guidance is the prompt that the restored DSPy program sends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dspy
import pytest
from dspy import lm15

from program_folders import INSTRUCTIONS, demos, product_owner_program
from quiz_role import QuizRole
from stillhouse.errors import FailedPrecondition
from stillhouse.programs.dspy_programs import capture, restore
from stillhouse.programs.guidance import check_rendering, guidance_of, probes_of
from stillhouse.programs.program import ModuleNode, Program
from stillhouse.roles.product_owner import ROLE


class KeepingEngine:
    """Answers as the role's author does and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        turns = [(message.role, message.first(lm15.TextPart).text) for message in request.messages]
        self.asked.append([("system", str(request.system)), *turns])
        example = next(ROLE.examples(count=1, seed=1))
        message = lm15.Message(role="assistant", parts=(lm15.TextPart(text=ROLE.author(example, seed=1)),))
        usage = lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2)
        return lm15.Response(id="1", model="kept", message=message, finish_reason="stop", usage=usage)


def optimized(count: int) -> Program:
    """The role's DSPy program with demos as both dict and Example, captured."""
    module = ROLE.dspy_program()
    module.generate.signature = module.generate.signature.with_instructions(INSTRUCTIONS)
    module.generate.demos = [
        dspy.Example(**demo.fields).with_inputs(*ROLE.input_fields) if demo.is_example else dict(demo.fields)
        for demo in demos(count)
    ]
    return capture(module, role=ROLE.name, role_version=ROLE.version, probes=probes_of(ROLE))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_restored_program_sends_what_the_role_renders(count: int) -> None:
    program = optimized(count)
    guidance = guidance_of(program, ROLE)
    module = restore(program, ROLE.dspy_program())
    engine, examples = KeepingEngine(), list(ROLE.examples(count=25, seed=5))

    with dspy.context(lm=dspy.LM("kept/one", engine=engine, cache=False)):
        for example in examples:
            module(**example.inputs)

    rendered = [[(turn.role, turn.content) for turn in ROLE.messages(one.inputs, guidance)] for one in examples]
    assert engine.asked == rendered
    assert {len(turns) for turns in rendered} == {2 + 2 * count}


def test_what_dspy_renders_is_what_the_role_renders_by_digest() -> None:
    check_rendering(optimized(3), ROLE)
    made = product_owner_program(INSTRUCTIONS, demos(3)).predictors["generate"]
    assert optimized(3).predictors["generate"].prompts_sha256 == made.prompts_sha256


def test_the_guidance_is_the_instructions_and_the_roles_own_fields() -> None:
    guidance = guidance_of(product_owner_program(shown=demos(1)), ROLE)
    assert guidance.instructions == INSTRUCTIONS
    (demo,) = guidance.demos
    assert set(demo) <= {*ROLE.input_fields, *ROLE.output_fields}
    assert "augmented" not in demo


def test_the_probes_are_always_the_same() -> None:
    assert probes_of(ROLE) == probes_of(ROLE)
    assert len({str(probe) for probe in probes_of(ROLE)}) == 3


def changed(**changes: Any) -> Program:
    return replace(product_owner_program(), **changes)


def fields_of(*names: str) -> Program:
    predictor = product_owner_program().predictors["generate"]
    fields = tuple(field for field in predictor.fields if field.name in names)
    return changed(predictors={"generate": replace(predictor, fields=fields)})


TWO = {name: product_owner_program().predictors["generate"] for name in ("one", "two")}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (changed(role="quiz"), "the program is of role quiz, not product_owner"),
        (changed(role_version=99), "of version 99 of role product_owner, which is at 1 here; optimize again"),
        (changed(modules=dict.fromkeys(TWO, ModuleNode("Predict")), predictors=TWO), "2 predictors"),
        (fields_of("concept", "product_vision"), "fields .concept, product_vision. are not those of role"),
    ],
)
def test_a_program_that_is_not_the_roles_is_refused(program: Program, words: str) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        guidance_of(program, ROLE)
    with pytest.raises(FailedPrecondition, match=words):
        check_rendering(program, ROLE)


def test_a_program_of_another_role_is_refused_by_that_role_too() -> None:
    with pytest.raises(FailedPrecondition, match="of role product_owner, not quiz"):
        guidance_of(product_owner_program(), QuizRole())


def test_a_changed_instruction_or_demo_does_not_render_as_kept() -> None:
    program = product_owner_program(shown=demos(1))
    predictor = program.predictors["generate"]
    (demo,) = predictor.demos
    other = replace(demo, fields={**demo.fields, "concept": "another"})
    for altered in (replace(predictor, instructions=f"{INSTRUCTIONS}!"), replace(predictor, demos=(other,))):
        with pytest.raises(FailedPrecondition, match="generate of the program does not render"):
            check_rendering(replace(program, predictors={"generate": altered}), ROLE)
