"""Vertex AI's messages as prompts and back."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import (
    Candidate,
    Content,
    GenerateContentRequest,
    GenerationConfig,
    Part,
    Schema,
    Tool,
    Type,
)
from google.protobuf import struct_pb2

from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.roles.role import Message
from stillhouse.vertex_emulator import openai_door
from stillhouse.vertex_emulator.answers import EmulatedAnswer
from stillhouse.vertex_emulator.faults import Ending
from stillhouse.vertex_emulator.wire import RESPONSE, prompt_of, response_of

MODEL = "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash"


def content(text: str, role: str = "user") -> Content:
    return Content(role=role, parts=[Part(text=text)])


def request(**fields: Any) -> Any:
    fields = {"model": MODEL, "contents": [content("Hello")], **fields}
    return GenerateContentRequest.pb(GenerateContentRequest(**fields))


def test_a_conversation_is_read_in_order() -> None:
    turns = [content("Hello"), content("Hi", "model"), content("And now?")]
    prompt = prompt_of(request(contents=turns, system_instruction=content("Be brief", "")))
    assert prompt.model == "gemini-2.5-flash"
    assert prompt.messages == (
        Message("system", "Be brief"),
        Message("user", "Hello"),
        Message("assistant", "Hi"),
        Message("user", "And now?"),
    )
    assert prompt.is_repair


def test_the_parameters_that_count_are_read() -> None:
    config = GenerationConfig(
        temperature=0.7,
        seed=5,
        max_output_tokens=2048,
        thinking_config=GenerationConfig.ThinkingConfig(thinking_budget=0),
    )
    prompt = prompt_of(request(generation_config=config))
    assert (prompt.seed, prompt.max_output_tokens, prompt.thinking_budget) == (5, 2048, 0)
    assert prompt.temperature == pytest.approx(0.7)
    assert prompt.extra == ""
    assert prompt_of(request()).thinking_budget is None


def test_project_labels_and_safety_settings_make_no_other_question() -> None:
    other = request(model=MODEL.replace("/p/", "/q/").replace("us-central1", "global"), labels={"run": "a"})
    assert prompt_of(other).digest == prompt_of(request()).digest


def test_any_other_parameter_makes_another_question() -> None:
    assert prompt_of(request(generation_config=GenerationConfig(top_p=0.9))).digest != prompt_of(request()).digest


def test_a_schema_becomes_a_json_schema_in_the_order_it_states() -> None:
    schema = Schema(
        type_=Type.OBJECT,
        properties={
            "zebra": Schema(type_=Type.STRING, description="stripes", enum=["a", "b"]),
            "ant": Schema(type_=Type.ARRAY, items=Schema(type_=Type.INTEGER)),
            "bee": Schema(type_=Type.BOOLEAN),
        },
        required=["zebra"],
    )
    config = GenerationConfig(response_mime_type="application/json", response_schema=schema)
    found = prompt_of(request(generation_config=config)).schema
    assert found == {
        "type": "object",
        "required": ["zebra"],
        "properties": {
            "zebra": {"type": "string", "description": "stripes", "enum": ["a", "b"]},
            "ant": {"type": "array", "items": {"type": "integer"}},
            "bee": {"type": "boolean"},
        },
    }
    assert list(found["properties"]) == ["zebra", "ant", "bee"]


def test_a_json_schema_is_read_as_well() -> None:
    value = struct_pb2.Value()
    value.struct_value.update({"type": "object", "properties": {"a": {"type": ["null", "string"]}}})
    config = GenerationConfig(response_mime_type="application/json", response_json_schema=value)
    found = prompt_of(request(generation_config=config)).schema
    assert found == {"type": "object", "properties": {"a": {"type": "string"}}}


def test_both_doors_ask_the_same_question() -> None:
    body = {
        "model": "gemini-2.5-flash",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello"}],
        "temperature": 0.7,
        "max_tokens": 100,
        "seed": 3,
    }
    config = GenerationConfig(temperature=0.7, max_output_tokens=100, seed=3)
    over_grpc = prompt_of(request(system_instruction=content("Be brief"), generation_config=config))
    assert openai_door.prompt_of(body).digest == over_grpc.digest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "gemini-2.5-flash"}, "Invalid resource name"),
        ({"contents": []}, "contents"),
        ({"contents": [content("Hi", "model")]}, "contents"),
        ({"contents": [content("Hi", "owner")]}, "valid role"),
        ({"contents": [Content(role="user", parts=[Part(file_data={"file_uri": "gs://a/b"})])]}, "text"),
        ({"tools": [Tool()]}, "tools"),
        ({"cached_content": "c"}, "cached_content"),
        ({"generation_config": GenerationConfig(candidate_count=2)}, "one candidate"),
        ({"generation_config": GenerationConfig(max_output_tokens=0)}, "at least 1"),
        ({"generation_config": GenerationConfig(response_schema=Schema(type_=Type.OBJECT))}, "application/json"),
    ],
)
def test_what_is_not_offered_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        prompt_of(request(**fields))


def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(NotFound, match="llama"):
        prompt_of(request(model=MODEL.replace("gemini-2.5-flash", "llama")))


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (Ending.STOP, Candidate.FinishReason.STOP),
        (Ending.LENGTH, Candidate.FinishReason.MAX_TOKENS),
        (Ending.SAFETY, Candidate.FinishReason.SAFETY),
        (Ending.RECITATION, Candidate.FinishReason.RECITATION),
    ],
)
def test_an_answer_says_how_it_ended(ending: Ending, reason: Candidate.FinishReason) -> None:
    text = "Hello" if ending in (Ending.STOP, Ending.LENGTH) else ""
    response = response_of(prompt_of(request()), text, EmulatedAnswer(text, ending, 10, 2, 30))
    assert isinstance(response, RESPONSE)
    assert response.candidates[0].finish_reason == reason
    assert bool(response.candidates[0].content.parts) == bool(text)
    assert bool(response.candidates[0].safety_ratings) == (ending is Ending.SAFETY)
    usage = response.usage_metadata
    assert (usage.thoughts_token_count, usage.total_token_count) == (30, 42)


def test_an_empty_answer_has_no_candidate() -> None:
    response = response_of(prompt_of(request()), "", EmulatedAnswer("", Ending.EMPTY, 10, 0, 30))
    assert not response.candidates
    assert response.usage_metadata.prompt_token_count == 10


def test_a_message_in_parts_is_read_if_all_of_it_is_text() -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]
    body = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": parts}]}
    assert openai_door.prompt_of(body).messages == (Message("user", "Hello\nthere"),)
    parts.append({"type": "image_url", "image_url": {"url": "https://a/b.png"}})
    with pytest.raises(InvalidArgument, match="content as text"):
        openai_door.prompt_of(body)
