from __future__ import annotations

import hashlib

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import prompt
from stillhouse.roles.role import Message

INPUTS = {"concept": " A ledger. ", "requirements_yaml": "constraints:\n- id: C001\n"}


def test_the_prompt_is_a_system_and_a_user_message() -> None:
    assert prompt.messages(INPUTS) == [
        Message("system", prompt.SYSTEM),
        Message("user", "CONCEPT\nA ledger.\n\nREQUIREMENTS\nconstraints:\n- id: C001"),
    ]


def test_an_existing_vision_is_given_only_where_there_is_one() -> None:
    assert prompt.messages(INPUTS | {"existing_vision": " \n"}) == prompt.messages(INPUTS)
    assert prompt.messages(INPUTS | {"existing_vision": "product_name: L"})[1].content.endswith(
        "\n\nEXISTING VISION\nproduct_name: L"
    )


def test_inputs_that_the_role_does_not_know_are_left_out() -> None:
    assert prompt.messages(INPUTS | {"tier": "simple"}) == prompt.messages(INPUTS)


def test_the_prompt_does_not_change_by_a_byte() -> None:
    text = "\0".join(message.role + "\0" + message.content for message in prompt.messages(INPUTS))
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "2aae1fa73cbb099c095bf50901712ba82b83604b230ea8734d1bad5116cdda19"
    )


@pytest.mark.parametrize("name", ["concept", "requirements_yaml"])
def test_a_missing_or_blank_input_is_named(name: str) -> None:
    for inputs in ({**INPUTS, name: " \n"}, {key: value for key, value in INPUTS.items() if key != name}):
        with pytest.raises(InvalidArgument, match=name) as raised:
            prompt.messages(inputs)
        assert raised.value.field == name


def test_the_answer_has_both_blocks_in_order() -> None:
    outputs = {"product_owner_review": "status: aligned\n", "product_vision": "product_name: L"}
    assert prompt.answer_text(outputs) == ("```yaml VISION\nproduct_name: L\n```\n```yaml REVIEW\nstatus: aligned\n```")
