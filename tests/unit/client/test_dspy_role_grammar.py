"""Which of a program's requests are held to the role's grammar: the role's own prompts, under any instructions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import dspy
import pytest
from dspy import lm15

from stillhouse.client.dspy import StudentEngine
from stillhouse.client.student import GenerationOptions, RolePrompt, StudentAnswer
from stillhouse.roles.role import Guidance, Message, load_role

ROLE = load_role("product_owner")
INPUTS = dict(next(iter(ROLE.examples(count=1, seed=1))).inputs)
SHA256 = "ab" * 32
ANSWER = StudentAnswer(
    text="so",
    finish_reason="stop",
    prompt_tokens=1,
    completion_tokens=1,
    cached_tokens=0,
    queue_seconds=0.0,
    prompt_seconds=0.1,
    completion_seconds=0.1,
    model_sha256=SHA256,
)


class KeptOptions:
    """A StudentClient that keeps what it is asked with."""

    address = "127.0.0.1:1"

    def __init__(self) -> None:
        self.options: list[GenerationOptions] = []

    def generate(self, messages: Sequence[Message], options: GenerationOptions, **_: Any) -> StudentAnswer:
        self.options.append(options)
        return ANSWER

    async def generate_async(self, messages: Sequence[Message], options: GenerationOptions, **_: Any) -> StudentAnswer:
        return self.generate(messages, options)

    def stream(self, messages: Sequence[Message], options: GenerationOptions, **_: Any) -> Iterator[StudentAnswer]:
        yield self.generate(messages, options)


def engine(client: Any, *, held: bool = True) -> StudentEngine:
    return StudentEngine(client, model_sha256=SHA256, role=ROLE if held else None)


def request(messages: Sequence[Message], **config: Any) -> lm15.Request:
    turns = [message for message in messages if message.role != "system"]
    system = next((message.content for message in messages if message.role == "system"), None)
    made = tuple(getattr(lm15.Message, turn.role)(turn.content) for turn in turns)
    return lm15.Request(model="m", messages=made, system=system, config=lm15.Config(**config))


@pytest.mark.parametrize("shared", [True, False])
def test_rows_of_an_evaluation_share_what_they_begin_with_where_it_is_said(*, shared: bool) -> None:
    client: Any = KeptOptions()
    asked = StudentEngine(client, model_sha256=SHA256, shared_prefix=shared)
    asked.complete(request(ROLE.messages(INPUTS)))
    assert [options.shared_prefix for options in client.options] == [shared]
    assert StudentEngine.load_state(asked.dump_state()).dump_state()["shared_prefix"] is shared


DEMO = {**INPUTS, **dict.fromkeys(ROLE.output_fields, "key: value")}


@pytest.mark.parametrize(
    "guidance",
    [None, Guidance("Write as if to a child.", ()), Guidance("Be brief.", (DEMO, DEMO))],
    ids=["the role's own", "other instructions", "demos"],
)
def test_a_prompt_of_the_role_is_held_to_the_grammar_of_its_inputs(guidance: Guidance | None) -> None:
    client = KeptOptions()
    engine(client).complete(request(ROLE.messages(INPUTS, guidance)))
    (options,) = client.options
    assert options.role_grammar is not None
    assert options.role_grammar.role == ROLE.name
    assert dict(options.role_grammar.inputs) == dict(ROLE.inputs_of(ROLE.messages(INPUTS)) or {})


def test_a_program_of_the_role_is_held_to_it() -> None:
    client = KeptOptions()
    with (
        dspy.context(lm=dspy.LM("stillhouse/one", engine=engine(client), cache=False)),
        pytest.raises(dspy.utils.exceptions.AdapterParseError),
    ):
        ROLE.dspy_program()(**INPUTS)
    assert isinstance(client.options[0].role_grammar, RolePrompt)


@pytest.mark.parametrize(
    ("messages", "held", "config"),
    [
        ([Message("user", "Propose an instruction.")], True, {}),
        (ROLE.messages(INPUTS), False, {}),
        (ROLE.messages(INPUTS), True, {"response_format": {"type": "json_schema", "schema": {"type": "object"}}}),
    ],
    ids=["another prompt", "no role named", "a schema of its own"],
)
def test_nothing_else_is(messages: list[Message], held: bool, config: dict[str, Any]) -> None:
    client = KeptOptions()
    engine(client, held=held).complete(request(messages, **config))
    assert client.options[0].role_grammar is None


def ask_async(held: StudentEngine, asked: lm15.Request) -> None:
    asyncio.run(held.complete_async(asked))


def ask_as_stream(held: StudentEngine, asked: lm15.Request) -> None:
    assert list(held.stream(asked))


@pytest.mark.parametrize("ask", [ask_async, ask_as_stream])
def test_asynchronous_and_streamed_answers_are_held_alike(ask: Callable[[StudentEngine, lm15.Request], None]) -> None:
    client = KeptOptions()
    ask(engine(client), request(ROLE.messages(INPUTS)))
    assert client.options[0].role_grammar is not None


def test_answers_under_the_grammar_are_those_of_another_model() -> None:
    """A log that is keyed by the model's name must not mix them."""
    names = {engine(KeptOptions(), held=held).model for held in (True, False)}
    assert names == {
        f"stillhouse/sha256:{SHA256}",
        f"stillhouse/sha256:{SHA256}/product_owner-grammar-{ROLE.version}",
    }


@pytest.mark.parametrize("held", [True, False])
def test_the_grammar_is_saved_and_loaded(held: bool) -> None:
    saved = engine(KeptOptions(), held=held).dump_state()
    with closing(StudentEngine.load_state(saved)) as loaded:
        assert loaded.model == engine(KeptOptions(), held=held).model


def test_what_was_saved_before_there_was_a_grammar_is_loaded() -> None:
    saved = engine(KeptOptions(), held=False).dump_state()
    del saved["role_grammar"]
    with closing(StudentEngine.load_state(saved)) as loaded:
        assert loaded.model == f"stillhouse/sha256:{SHA256}"
