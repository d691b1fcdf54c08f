"""Vertex AI's messages as prompts, and answers as Vertex AI's messages. Called by the gRPC door.

It works on the plain protobuf classes behind google-cloud-aiplatform's types: those are many times quicker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from google.cloud.aiplatform_v1.types import openapi, prediction_service
from google.cloud.aiplatform_v1.types.content import Candidate, HarmCategory, SafetyRating
from google.protobuf.json_format import MessageToDict

from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.roles.role import Message
from stillhouse.vertex_emulator.answers import EmulatedAnswer
from stillhouse.vertex_emulator.faults import Ending
from stillhouse.vertex_emulator.prompt import Prompt, json_schema

REQUEST: Any = prediction_service.GenerateContentRequest.pb()
RESPONSE: Any = prediction_service.GenerateContentResponse.pb()
_SCHEMA: Any = openapi.Schema.pb()

_PUBLISHER_MODEL = re.compile(r"projects/[^/]+/locations/[^/]+/publishers/[^/]+/models/([^/@]+)(?:@[^/]*)?")
_ROLES = {"user": "user", "model": "assistant", "": "user"}
_NOT_OFFERED = frozenset({"tools", "tool_config", "cached_content", "model_armor_config"})
_READ = ("temperature", "seed", "max_output_tokens", "thinking_config", "response_schema", "response_json_schema")
_FINISH: dict[Ending, Any] = {
    Ending.STOP: Candidate.FinishReason.STOP,
    Ending.LENGTH: Candidate.FinishReason.MAX_TOKENS,
    Ending.SAFETY: Candidate.FinishReason.SAFETY,
    Ending.RECITATION: Candidate.FinishReason.RECITATION,
}


def prompt_of(request: Any) -> Prompt:
    """A GenerateContentRequest as a prompt. Raises InvalidArgument naming the field, or NotFound for the model."""
    for field, _ in request.ListFields():
        if field.name in _NOT_OFFERED:
            raise InvalidArgument(f"{field.name} is not offered by this server", field=field.name)
    config = request.generation_config
    messages = [_message("system", request.system_instruction.parts)] if request.HasField("system_instruction") else []
    messages += [_message(_role(content.role), content.parts) for content in request.contents]
    if not request.contents or messages[-1].role != "user":
        raise InvalidArgument("contents must end with a turn of the role user", field="contents")
    return Prompt(
        model=known_model(_model_name(request.model)),
        messages=tuple(messages),
        schema=_schema(config),
        max_output_tokens=_limit(config),
        thinking_budget=_thinking_budget(config),
        temperature=config.temperature if config.HasField("temperature") else None,
        seed=config.seed if config.HasField("seed") else None,
        extra=_extra(config),
    )


def known_model(name: str) -> str:
    """The name, if it is a Gemini model's. Raises NotFound as Vertex AI words it."""
    if not name.startswith("gemini-"):
        raise NotFound(
            f"Publisher Model `{name}` was not found or your project does not have access to it. This server answers "
            "for names that begin with gemini-, such as gemini-2.5-flash.",
            field="model",
        )
    return name


def response_of(prompt: Prompt, text: str, answer: EmulatedAnswer | None) -> Any:
    """The whole answer, or a piece of a streamed one; with `answer` it says how that ended and what it used."""
    response = RESPONSE(model_version=prompt.model, response_id=prompt.digest[:24])
    candidate = response.candidates.add()
    if text:
        candidate.content.role = "model"
        candidate.content.parts.add().text = text
    if answer is not None:
        _finish(response, answer)
    return response


def _finish(response: Any, answer: EmulatedAnswer) -> None:
    usage = response.usage_metadata
    usage.prompt_token_count = answer.prompt_tokens
    usage.candidates_token_count = answer.text_tokens
    usage.thoughts_token_count = answer.thinking_tokens
    usage.total_token_count = answer.prompt_tokens + answer.output_tokens
    if answer.ending is Ending.EMPTY:
        del response.candidates[:]
        return
    candidate = response.candidates[0]
    candidate.finish_reason = int(_FINISH[answer.ending])
    if answer.ending is Ending.SAFETY:
        rating = candidate.safety_ratings.add()
        rating.category = int(HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT)
        rating.probability = int(SafetyRating.HarmProbability.MEDIUM)
        rating.blocked = True


def _model_name(path: str) -> str:
    match = _PUBLISHER_MODEL.fullmatch(path)
    if match is None:
        raise InvalidArgument(
            f"Invalid resource name {path!r}: give projects/PROJECT/locations/LOCATION/publishers/google/models/MODEL",
            field="model",
        )
    return match[1]


def _role(name: str) -> str:
    if name not in _ROLES:
        raise InvalidArgument(f"Please use a valid role: user, model; this is {name!r}", field="contents.role")
    return _ROLES[name]


def _message(role: str, parts: Iterable[Any]) -> Message:
    texts = []
    for part in parts:
        if part.WhichOneof("data") != "text":
            raise InvalidArgument("parts must be text; this server reads nothing else", field="contents.parts")
        texts.append(part.text)
    return Message(role, "\n".join(texts))


def _limit(config: Any) -> int | None:
    if not config.HasField("max_output_tokens"):
        return None
    if config.max_output_tokens < 1:
        raise InvalidArgument("max_output_tokens must be at least 1", field="generation_config.max_output_tokens")
    return int(config.max_output_tokens)


def _thinking_budget(config: Any) -> int | None:
    thinking = config.thinking_config
    return int(thinking.thinking_budget) if thinking.HasField("thinking_budget") else None


def _extra(config: Any) -> str:
    """What else a request sets. One more candidate would be one more answer: that is refused."""
    if config.candidate_count > 1:
        raise InvalidArgument("only one candidate is offered", field="generation_config.candidate_count")
    rest = type(config)()
    rest.CopyFrom(config)
    for field in (*_READ, "candidate_count"):
        rest.ClearField(field)
    return str(rest.SerializeToString(deterministic=True).hex())


def _schema(config: Any) -> Any:
    named = [name for name in ("response_schema", "response_json_schema") if config.HasField(name)]
    if not named:
        return None
    if config.response_mime_type != "application/json":
        raise InvalidArgument(
            f"{named[0]} needs response_mime_type application/json", field="generation_config.response_mime_type"
        )
    if named[0] == "response_json_schema":
        return json_schema(MessageToDict(config.response_json_schema))
    return json.loads(_plain_schema(config.response_schema.SerializeToString(deterministic=True)))


@lru_cache(maxsize=64)
def _plain_schema(serialized: bytes) -> str:
    """A Schema message as the text of a JSON schema. One run asks with a few schemas, thousands of times each."""
    return json.dumps(_converted(_SCHEMA.FromString(serialized)))


def _converted(schema: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if schema.type_:
        plain["type"] = openapi.Type(schema.type_).name.lower()
    if schema.description:
        plain["description"] = schema.description
    for name in ("enum", "required"):
        if getattr(schema, name):
            plain[name] = list(getattr(schema, name))
    if schema.HasField("items"):
        plain["items"] = _converted(schema.items)
    if schema.properties:
        # A protobuf map has no order of its own; what the request says about order counts, then the alphabet.
        said = dict.fromkeys((*schema.property_ordering, *schema.required))
        names = [name for name in said if name in schema.properties]
        names += sorted(set(schema.properties) - set(names))
        plain["properties"] = {name: _converted(schema.properties[name]) for name in names}
    return plain
