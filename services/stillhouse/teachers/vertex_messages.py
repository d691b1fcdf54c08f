"""Questions as Vertex AI's GenerateContentRequest, and its responses as answers: pure, no network.

Called by `vertex` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import (
    Candidate,
    Content,
    GenerateContentRequest,
    GenerateContentResponse,
    GenerationConfig,
    HarmCategory,
    Part,
    Schema,
    Type,
)

from stillhouse.errors import InvalidArgument
from stillhouse.teachers.teacher import Answer, FinishReason, Question

_TYPES = {
    "string": Type.STRING,
    "number": Type.NUMBER,
    "integer": Type.INTEGER,
    "boolean": Type.BOOLEAN,
    "array": Type.ARRAY,
    "object": Type.OBJECT,
}
_SCHEMA_KEYS = frozenset({"type", "description", "properties", "required", "items", "enum"})
_ROLES = {"user": "user", "assistant": "model"}

_REASONS = {
    # A server that does not say why it ended, but sends text, has ended.
    Candidate.FinishReason.FINISH_REASON_UNSPECIFIED: FinishReason.STOP,
    Candidate.FinishReason.STOP: FinishReason.STOP,
    Candidate.FinishReason.MAX_TOKENS: FinishReason.LENGTH,
    Candidate.FinishReason.SAFETY: FinishReason.BLOCKED,
    Candidate.FinishReason.PROHIBITED_CONTENT: FinishReason.BLOCKED,
    Candidate.FinishReason.BLOCKLIST: FinishReason.BLOCKED,
    Candidate.FinishReason.SPII: FinishReason.BLOCKED,
    Candidate.FinishReason.MODEL_ARMOR: FinishReason.BLOCKED,
    Candidate.FinishReason.RECITATION: FinishReason.RECITATION,
}


def request_of(question: Question, resource: str) -> GenerateContentRequest:
    """The request for the model of that resource name.

    Raises InvalidArgument for a message of a role, or a schema with a key, that Vertex AI is not asked with.
    """
    system = [Part(text=each.content) for each in question.messages if each.role == "system"]
    contents = [
        Content(role=_role(each.role), parts=[Part(text=each.content)])
        for each in question.messages
        if each.role != "system"
    ]
    return GenerateContentRequest(
        model=resource,
        contents=contents,
        system_instruction=Content(parts=system) if system else None,
        generation_config=_config(question),
    )


def answer_of(response: GenerateContentResponse) -> Answer:
    """The first candidate's text without thoughts, why it ended, and what it used."""
    # The raw message: proto-plus warns of enum values that are newer than this client.
    message = GenerateContentResponse.pb(response)
    usage = message.usage_metadata
    text, reason, detail = "", FinishReason.EMPTY, "no candidate"
    if message.prompt_feedback.block_reason:
        reason, detail = FinishReason.BLOCKED, _block_detail(message.prompt_feedback)
    elif message.candidates:
        candidate = message.candidates[0]
        text = "".join(part.text for part in candidate.content.parts if not part.thought)
        reason, detail = _ending(candidate, has_text=bool(text.strip()))
    return Answer(
        text=text,
        finish_reason=reason,
        prompt_tokens=usage.prompt_token_count,
        completion_tokens=usage.candidates_token_count,
        thinking_tokens=usage.thoughts_token_count,
        detail=detail,
    )


def schema_of(tree: Mapping[str, Any]) -> Schema:
    """A JSON schema as Vertex AI's, its properties in their order. Raises InvalidArgument for what it can't say."""
    unknown = sorted(set(tree) - _SCHEMA_KEYS)
    if unknown or tree.get("type") not in _TYPES:
        what = f"the key {unknown[0]!r}" if unknown else f"the type {tree.get('type')!r}"
        raise InvalidArgument(
            f"a response schema has {what}; it may have {', '.join(sorted(_SCHEMA_KEYS))} and the types "
            f"{', '.join(_TYPES)}",
            field="response_schema",
        )
    properties = tree.get("properties", {})
    return Schema(
        type_=_TYPES[tree["type"]],
        description=tree.get("description", ""),
        properties={name: schema_of(each) for name, each in properties.items()},
        property_ordering=list(properties),
        required=list(tree.get("required", ())),
        items=schema_of(tree["items"]) if "items" in tree else None,
        enum=list(tree.get("enum", ())),
        format_="enum" if "enum" in tree else "",
    )


def _config(question: Question) -> GenerationConfig:
    config = GenerationConfig(
        max_output_tokens=question.max_output_tokens,
        temperature=question.temperature,
        seed=question.seed_of_31_bits,
    )
    if question.thinking_budget is not None:
        config.thinking_config = GenerationConfig.ThinkingConfig(thinking_budget=question.thinking_budget)
    if question.response_schema is not None:
        config.response_mime_type = "application/json"
        config.response_schema = schema_of(question.response_schema)
    return config


def _role(role: str) -> str:
    if role not in _ROLES:
        raise InvalidArgument(f"a message's role is {role!r}; it is system, user or assistant", field="messages")
    return _ROLES[role]


def _ending(candidate: Any, *, has_text: bool) -> tuple[FinishReason, str]:
    reason = _REASONS.get(candidate.finish_reason, FinishReason.OTHER)
    if reason is FinishReason.STOP:
        return (reason, "") if has_text else (FinishReason.EMPTY, "a candidate without text")
    words = [_name(Candidate.FinishReason, candidate.finish_reason)]
    words += [_name(HarmCategory, rating.category) for rating in candidate.safety_ratings if rating.blocked]
    words += [candidate.finish_message] if candidate.finish_message else []
    return reason, ": ".join(words)


def _block_detail(feedback: Any) -> str:
    name = _name(GenerateContentResponse.PromptFeedback.BlockedReason, feedback.block_reason)
    return f"prompt: {name}" + (f": {feedback.block_reason_message}" if feedback.block_reason_message else "")


def _name(enum: Any, value: int) -> str:
    """The provider's word for an enum value, or its number where it is newer than this client."""
    return enum(value).name if value in set(enum) else str(value)
