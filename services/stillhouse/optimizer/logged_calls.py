"""A call of a DSPy language model as the answer log keeps it, and back. Pure; called by the journal and the models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dspy import lm15
from dspy.clients.call_result import CallResult

from stillhouse.artifacts.answers import AnswerQuery, LoggedAnswer
from stillhouse.errors import InvalidArgument

_CACHED_TOKENS = "cached_tokens"


def query_of(request: Mapping[str, Any]) -> AnswerQuery:
    """What the answer log knows a call of a DSPy language model by.

    `request` is DSPy's own cache key: model, messages, sampling, and the rollout that tells equal requests apart.
    Raises InvalidArgument for what is no JSON.
    """
    parts = {name: value for name, value in request.items() if not name.startswith("_")}
    asked = parts.pop("request", None) or {}
    model = str(parts.pop("model", "") or asked.get("model", ""))
    messages = parts.pop("messages", None)
    prompt = asked if messages is None else {"messages": messages}
    seed = parts.pop("seed", None) or 0
    try:
        text = json.dumps(prompt, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        parameters = {name: _scalar(value) for name, value in parts.items() if value is not None}
    except (TypeError, ValueError) as exc:
        raise InvalidArgument(f"a request to {model} can't be kept as JSON: {exc}") from exc
    return AnswerQuery(model=model, prompt=text, parameters=parameters, seed=int(seed))


def _scalar(value: Any) -> str | int | float | bool:
    if isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def logged(response: lm15.Response, *, latency_seconds: float, cost_usd: float) -> LoggedAnswer:
    """A response as the answer log keeps it. Only its text is kept."""
    usage = response.usage
    return LoggedAnswer(
        text="".join(part.text for part in response.message.parts if isinstance(part, lm15.TextPart)),
        finish_reason=str(response.finish_reason),
        prompt_tokens=usage.input_tokens or 0,
        completion_tokens=usage.output_tokens or 0,
        latency_seconds=latency_seconds,
        cost_usd=cost_usd,
        extra={_CACHED_TOKENS: str(usage.cache_read_tokens)} if usage.cache_read_tokens else {},
    )


def response_of(model: str, answer: LoggedAnswer) -> lm15.Response:
    """The response that `logged` kept."""
    return lm15.Response(
        id=None,
        model=model,
        message=lm15.Message.assistant(answer.text),
        finish_reason="length" if answer.finish_reason == "length" else "stop",
        usage=lm15.Usage(
            input_tokens=answer.prompt_tokens,
            output_tokens=answer.completion_tokens,
            cache_read_tokens=cached_tokens(answer) or None,
        ),
    )


def record_of(model: str, answer: LoggedAnswer) -> dict[str, Any]:
    """The answer as DSPy's cache keeps one."""
    record: dict[str, Any] = CallResult.native(response_of(model, answer)).dump()
    return record


def cached_tokens(answer: LoggedAnswer) -> int:
    """Of its prompt tokens, those that the server's prefix cache had."""
    return int(answer.extra.get(_CACHED_TOKENS, "0"))
