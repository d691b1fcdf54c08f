"""Any teacher that litellm knows: Ollama, OpenAI-compatible servers, Anthropic, and many more.

Opened by `opening`. Keys are where litellm looks for them (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...). litellm's own
retries, caches, telemetry and downloads are off.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from stillhouse.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)
from stillhouse.teachers.teacher import Answer, FinishReason, Question
from stillhouse.v1.teacher_pb2 import TeacherModel

_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.BLOCKED,
}
_KEY_VARIABLE = "STILLHOUSE_LITELLM_API_KEY"
_MESSAGE_CHARACTERS = 1000


class LitellmTeacher:
    """One model, by litellm's name."""

    slots: int | None = None

    def __init__(self, litellm: Any, model: str, *, endpoint: str, api_key: str | None, identity: str) -> None:
        """`litellm` is the module; an empty endpoint is the provider's own."""
        self.identity = identity
        self._litellm = litellm
        self._model = model
        self._fixed: dict[str, Any] = {"model": model, "num_retries": 0, "max_retries": 0, "drop_params": True}
        if endpoint:
            self._fixed["api_base"] = endpoint
        if api_key:
            self._fixed["api_key"] = api_key
        self._supported = frozenset(litellm.get_supported_openai_params(model=model) or ())

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        """See Teacher."""
        try:
            async with asyncio.timeout(deadline_seconds):
                response = await self._litellm.acompletion(
                    **self._fixed, **self._options(question), timeout=deadline_seconds
                )
        except TimeoutError as exc:
            raise self._too_late(deadline_seconds) from exc
        except self._litellm.ContentPolicyViolationError as exc:
            return Answer("", FinishReason.BLOCKED, 0, 0, detail=_message(exc))
        except Exception as exc:
            raise self._error(exc, deadline_seconds) from exc
        return _answer(response)

    async def close(self) -> None:
        """See Teacher."""
        await self._litellm.close_litellm_async_clients()

    def _options(self, question: Question) -> dict[str, Any]:
        options: dict[str, Any] = {
            "messages": [{"role": each.role, "content": each.content} for each in question.messages],
            "max_tokens": question.max_output_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }
        if question.thinking_budget is not None and "thinking" in self._supported:
            options["thinking"] = (
                {"type": "enabled", "budget_tokens": question.thinking_budget}
                if question.thinking_budget
                else {"type": "disabled"}
            )
        if question.response_schema is not None and "response_format" in self._supported:
            schema = {"name": "answer", "schema": question.response_schema}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        return options

    def _too_late(self, deadline_seconds: float) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self.identity} did not answer within {deadline_seconds:g} s; allow more seconds")

    def _error(self, error: Exception, deadline_seconds: float) -> StillhouseError:
        text = f"{self.identity}: {_message(error)}"
        # Classes alone do not do: a 403 is a bare APIError, and some providers' 404 is no NotFoundError.
        status = getattr(error, "status_code", None)
        if isinstance(error, self._litellm.Timeout):
            return self._too_late(deadline_seconds)
        if status == 402 or "insufficient_quota" in text:
            return FailedPrecondition(f"{text}; the account has no credit left")
        if status == 429:
            return ResourceExhausted(text, retry_after_seconds=_retry_after(error))
        if status in (401, 403):
            return PermissionDenied(f"{text}; set the provider's key (OPENAI_API_KEY, ...) or {_KEY_VARIABLE}")
        if status == 404:
            return NotFound(f"{text}; correct the model's name {self._model!r} or the endpoint", field="model")
        if isinstance(error, self._litellm.BadRequestError) or status in (400, 422):
            return InvalidArgument(text)
        # Connection errors, 5xx, and answers that are no JSON: another call may do better.
        return Unavailable(text, retry_after_seconds=_retry_after(error))


async def open_litellm(model: TeacherModel, environ: Mapping[str, str]) -> LitellmTeacher:
    """The teacher that `model` names; no connection is made. `model.endpoint` is litellm's api_base.

    Raises InvalidArgument where litellm does not know the provider in the model's name.
    """
    litellm = await asyncio.to_thread(_import)
    try:
        _, provider, _, _ = litellm.get_llm_provider(model=model.model, api_base=model.endpoint or None)
    except litellm.BadRequestError as exc:
        raise InvalidArgument(
            f"litellm does not know the provider of {model.model!r}; name it as in ollama/llama3.2 or openai/MODEL",
            field="model",
        ) from exc
    api_key = environ.get(_KEY_VARIABLE)
    if not api_key and model.endpoint and provider == "openai" and not environ.get("OPENAI_API_KEY"):
        # The OpenAI client refuses to start without one; servers of one's own mostly want none.
        api_key = "none"
    host = urlsplit(model.endpoint).hostname
    return LitellmTeacher(
        litellm,
        model.model,
        endpoint=model.endpoint,
        api_key=api_key,
        identity=f"litellm@{host}:{model.model}" if host else f"litellm:{model.model}",
    )


def _import() -> Any:
    """Untyped on purpose: its type is half a million lines."""
    # Otherwise its import fetches a price list.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # It builds its models on their first use, whenever that is, and pydantic warns of what it finds there.
    warnings.filterwarnings("ignore", message=r"Item '\w+' on TypedDict class .* `ReadOnly` qualifier")
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.cache = None
    # aiohttp sessions are bound to a loop, and litellm forgets to close them.
    litellm.disable_aiohttp_transport = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "httpx", "openai"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return litellm


def _answer(response: Any) -> Answer:
    usage = getattr(response, "usage", None)
    details = getattr(usage, "completion_tokens_details", None)
    thinking = int(getattr(details, "reasoning_tokens", None) or 0)
    completion = int(getattr(usage, "completion_tokens", None) or 0)
    text, reason, detail = "", FinishReason.EMPTY, "no choice"
    if response.choices:
        choice = response.choices[0]
        text = choice.message.content or ""
        reason = _REASONS.get(choice.finish_reason, FinishReason.OTHER)
        detail = "" if reason is FinishReason.STOP else str(choice.finish_reason)
        if reason is FinishReason.STOP and not text.strip():
            reason, detail = FinishReason.EMPTY, "a choice without text"
    return Answer(
        text=text,
        finish_reason=reason,
        prompt_tokens=int(getattr(usage, "prompt_tokens", None) or 0),
        # litellm counts thinking into the completion.
        completion_tokens=max(0, completion - thinking),
        thinking_tokens=thinking,
        detail=detail,
    )


def _retry_after(error: Exception) -> float | None:
    """Seconds of a Retry-After header, which names seconds or a date."""
    sources = (
        getattr(error, "litellm_response_headers", None),
        getattr(getattr(error, "response", None), "headers", None),
    )
    for headers in sources:
        text = headers.get("retry-after") if headers else None
        if not text:
            continue
        try:
            return max(0.0, float(text))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            continue
    return None


def _message(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error).strip()
    return text if len(text) <= _MESSAGE_CHARACTERS else text[:_MESSAGE_CHARACTERS] + "..."
