"""An evaluation with an optimised program: its prompt is asked, its digest named, another role's refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from job_contexts import job_context
from program_folders import INSTRUCTIONS, demos, product_owner_program
from scripted_student import MODEL, ScriptedStudent
from stillhouse.artifacts.store import Store
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.evaluator.stage import evaluate, evaluate_teacher, plan_of
from stillhouse.programs.document import program_bytes
from stillhouse.programs.program import Demo, Program
from stillhouse.roles.role import load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_NONE, EvaluateRequest
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel

ROLE = load_role("product_owner")
EXAMPLES = list(ROLE.examples(count=2, seed=9))


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return job_context(Store.open(str(tmp_path / "store")), tmp_path)


def asking(context: JobContext, program: Program | None) -> EvaluateRequest:
    lines = "".join(json.dumps(dict(example.inputs)) + "\n" for example in EXAMPLES)
    request = EvaluateRequest(
        role=RoleReference(name=ROLE.name, version=ROLE.version),
        model=Artifact(name="model.gguf", sha256=MODEL),
        validation=context.store.put_bytes(lines.encode(), name="rows.jsonl", media_type="application/jsonl"),
        constraint=CONSTRAINT_KIND_NONE,
        max_tokens=512,
    )
    if program is not None:
        request.program.CopyFrom(kept(context, program))
    return request


def kept(context: JobContext, program: Program) -> Artifact:
    return context.store.put_bytes(program_bytes(program), name="program.json", media_type="application/json")


def student() -> ScriptedStudent:
    return ScriptedStudent(lambda _: ROLE.author(EXAMPLES[0], seed=1))


def test_the_programs_prompt_is_asked_and_its_digest_is_in_the_document(context: JobContext) -> None:
    request, asked = asking(context, product_owner_program(shown=demos(2))), student()
    result = evaluate(context, request, asked)
    for question, example in zip(asked.asked, EXAMPLES, strict=True):
        assert question.messages[0].content.startswith(INSTRUCTIONS)
        assert [message.role for message in question.messages] == ["system", *("user", "assistant") * 2, "user"]
        assert question.messages[-1] == ROLE.messages(example.inputs)[-1]
    assert json.loads(context.store.read_bytes(result.summary))["program"] == request.program.sha256


def test_without_one_the_roles_own_prompt_is_asked_and_none_is_named(context: JobContext) -> None:
    asked = student()
    result = evaluate(context, asking(context, None), asked)
    assert [list(question.messages) for question in asked.asked] == [ROLE.messages(each.inputs) for each in EXAMPLES]
    assert json.loads(context.store.read_bytes(result.summary))["program"] is None


def test_a_program_of_another_role_is_refused_before_anything_is_asked(context: JobContext) -> None:
    asked = student()
    with pytest.raises(FailedPrecondition, match="role quiz"):
        evaluate(context, asking(context, replace(product_owner_program(), role="quiz")), asked)
    assert not asked.asked


def test_a_program_that_renders_otherwise_is_refused(context: JobContext) -> None:
    whole = product_owner_program()
    changed = replace(whole.predictors["generate"], instructions="Something else.")
    with pytest.raises(FailedPrecondition, match="does not render the prompts"):
        plan_of(context, asking(context, replace(whole, predictors={"generate": changed})))


def test_a_teachers_program_is_named_with_the_teacher(context: JobContext) -> None:
    request = asking(context, product_owner_program())
    request.ClearField("model")
    request.teacher.CopyFrom(
        TeacherModel(provider="emulator", model="m", prompt=TEACHER_PROMPT_FENCED, max_output_tokens=512)
    )
    with pytest.raises(InvalidArgument, match=r"teacher\.program"):
        plan_of(context, request)
    request.teacher.program.CopyFrom(request.program)
    request.ClearField("program")
    assert plan_of(context, request).subject.program == request.teacher.program.sha256


def shown_row(number: int, **changes: str) -> Demo:
    """A demo that answers that row; its concept is written otherwise."""
    example = EXAMPLES[number]
    inputs = {**example.inputs, "concept": example.inputs["concept"].upper() + " "}
    return Demo({"augmented": True, **inputs, **ROLE.parse(ROLE.author(example, seed=1)).outputs, **changes})


def test_a_program_that_shows_a_row_is_refused_before_anything_is_asked(context: JobContext) -> None:
    asked = student()
    concept = EXAMPLES[1].inputs["concept"][:60]
    with pytest.raises(InvalidArgument, match="give away the answers of 1 of 2 validation rows") as refused:
        evaluate(context, asking(context, product_owner_program(shown=[*demos(1), shown_row(1)])), asked)
    assert f"row 2 {concept!r}; evaluate on other rows" in refused.value.message
    assert refused.value.field == "program"
    assert not asked.asked


def test_a_teachers_program_may_show_no_row_either(context: JobContext) -> None:
    request = asking(context, None)
    request.ClearField("model")
    program = kept(context, product_owner_program(shown=[shown_row(0)]))
    request.teacher.CopyFrom(
        TeacherModel(
            provider="emulator", model="m", prompt=TEACHER_PROMPT_FENCED, max_output_tokens=512, program=program
        )
    )
    with pytest.raises(InvalidArgument, match="give away"):
        evaluate_teacher(context, request, environ={})


def test_a_demo_that_is_left_out_of_the_prompt_gives_nothing_away(context: JobContext) -> None:
    half = shown_row(0, product_vision="")
    result = evaluate(context, asking(context, product_owner_program(shown=[half])), student())
    assert result.evaluation.scores.count == 2
