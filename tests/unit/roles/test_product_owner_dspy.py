from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.utils.exceptions import AdapterParseError

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE, dspy_adapter, prompt
from stillhouse.roles.product_owner.dspy_adapter import ProductOwner, ProductOwnerAdapter, ProductOwnerSignature

INPUTS = {"concept": "A ledger. ", "requirements_yaml": "constraints:\n- {id: C001, description: here}\n"}
OUTPUTS = {"product_vision": "product_name: Ledger", "product_owner_review": "status: aligned"}
ANSWER = "```yaml VISION\nproduct_name: Ledger\n```\n```yaml REVIEW\nstatus: aligned\n```"


class ScriptedEngine:
    """Answers every request with one text and keeps the requests."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.requests: list[lm15.Request] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        self.requests.append(request)
        message = lm15.Message(role="assistant", parts=(lm15.TextPart(text=self.text),))
        usage = lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2)
        return lm15.Response(id="1", model="scripted", message=message, finish_reason="stop", usage=usage)


class AsyncScriptedEngine:
    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return self.engine.complete(request)


def scripted(text: str) -> tuple[dspy.LM, ScriptedEngine]:
    engine = ScriptedEngine(text)
    return dspy.LM("scripted/one", engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False), engine


def rendered(signature: Any = ProductOwnerSignature, demos: Any = (), **inputs: Any) -> list[dict[str, str]]:
    return ProductOwnerAdapter().format(signature, list(demos), INPUTS | inputs)


def test_the_signature_has_the_fields_of_the_role() -> None:
    assert tuple(ProductOwnerSignature.input_fields) == ROLE.input_fields
    assert tuple(ProductOwnerSignature.output_fields) == ROLE.output_fields


@pytest.mark.parametrize("existing_vision", [None, "", "product_name: Led\n"])
def test_the_rendering_without_demos_is_the_training_prompt(existing_vision: str | None) -> None:
    inputs = INPUTS if existing_vision is None else INPUTS | {"existing_vision": existing_vision}
    expected = [{"role": message.role, "content": message.content} for message in ROLE.messages(inputs)]
    assert rendered(existing_vision=existing_vision) == expected


def test_recorded_inputs_are_rendered_as_in_training(teacher_rows: list[dict[str, Any]]) -> None:
    for row in teacher_rows[::20]:
        expected = [{"role": message.role, "content": message.content} for message in ROLE.messages(row)]
        assert rendered(concept=row["concept"], requirements_yaml=row["requirements_yaml"]) == expected


def test_other_instructions_keep_the_form_of_the_answer() -> None:
    system = rendered(ProductOwnerSignature.with_instructions("Be brief."))[0]["content"]
    assert system == f"Be brief. {prompt.ANSWER_FORM}"


def test_whole_demos_become_turns_and_others_are_left_out() -> None:
    demos = [
        INPUTS | OUTPUTS,
        INPUTS,
        OUTPUTS,
        {**INPUTS, **OUTPUTS, "product_vision": ""},
        dspy.Example(**INPUTS, **OUTPUTS),
    ]
    plain, shown = rendered(), rendered(demos=demos)
    turns = [{"role": "user", "content": plain[1]["content"]}, {"role": "assistant", "content": ANSWER}]
    assert shown == [plain[0], *turns, *turns, plain[1]]


def test_a_missing_input_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="concept"):
        rendered(concept=" ")


@pytest.mark.parametrize(
    "call", [lambda program: program(**INPUTS), lambda program: asyncio.run(program.acall(**INPUTS))]
)
def test_the_program_sends_the_training_prompt_and_reads_the_answer(call: Callable[[ProductOwner], Any]) -> None:
    lm, engine = scripted(f"Sure!\n{ANSWER}")
    with dspy.context(lm=lm):
        prediction = call(ProductOwner())
    assert dict(prediction.items()) == OUTPUTS
    (request,) = engine.requests
    assert str(request.system) == prompt.SYSTEM
    assert [message.first(lm15.TextPart).text for message in request.messages] == [ROLE.messages(INPUTS)[1].content]


def test_an_answer_without_a_block_is_a_parse_error_after_one_call() -> None:
    lm, engine = scripted("```yaml VISION\nproduct_name: Ledger\n```")
    with dspy.context(lm=lm), pytest.raises(AdapterParseError, match="there is no REVIEW block"):
        ProductOwner()(**INPUTS)
    assert len(engine.requests) == 1


def test_the_predictor_is_named_generate_and_survives_saving(tmp_path: Path) -> None:
    program = ProductOwner()
    assert [name for name, _ in program.named_predictors()] == ["generate"]
    program.generate.demos = [INPUTS | OUTPUTS]
    program.generate.signature = program.generate.signature.with_instructions("Be brief.")
    program.save(tmp_path / "program.json")
    loaded = ProductOwner()
    loaded.load(tmp_path / "program.json")
    assert loaded.generate.signature.instructions == "Be brief."
    assert rendered(loaded.generate.signature, loaded.generate.demos) == rendered(
        program.generate.signature, program.generate.demos
    )


def test_the_metric_is_the_roles() -> None:
    example = dspy.Example(**INPUTS).with_inputs(*INPUTS)
    value = dspy_adapter.product_owner_metric(example, dspy.Prediction(**OUTPUTS))
    assert value == ROLE.score(INPUTS, OUTPUTS).score > 0
    assert dspy_adapter.product_owner_metric(example, dspy.Prediction()) == ROLE.score(INPUTS, {}).score
