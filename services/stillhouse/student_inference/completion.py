"""A completion in llama.cpp's words and in ours: the request that a question makes, the pieces that its chunks are.

Called by the engine, which asks; pure.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stillhouse.errors import InvalidArgument, ResourceExhausted, StillhouseError, Unavailable
from stillhouse.student_inference.constraint import Constraint
from stillhouse.student_inference.sampling import Sampling

_LONGEST_JSON_TOKEN = 6
"""Characters of `\\u00e9`, in the middle of which an answer may break off."""


@dataclass(frozen=True)
class Question:
    """One generation: a rendered prompt, how to sample, what to hold the answer to."""

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    cache_prompt: bool = True
    shared: str = ""
    """What many prompts to come begin with, this one too."""


@dataclass(frozen=True)
class Usage:
    """What an answer took. `prompt_tokens` includes `cached_tokens`; times in seconds."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prompt_seconds: float
    completion_seconds: float


NOTHING = Usage(0, 0, 0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Piece:
    """Text of an answer; the last piece has `finish` ("stop" or "length") and `usage`."""

    text: str
    finish: str = ""
    usage: Usage | None = None


def completion_request(question: Question, context_tokens: int) -> Mapping[str, object]:
    """The completion request. Always streamed, and with progress while the prompt is read: llama.cpp asks whether to
    stop only when it has something to say.
    """
    request: dict[str, object] = {
        "prompt": question.prompt,
        "stream": True,
        "return_progress": True,
        "cache_prompt": question.cache_prompt,
        **question.sampling.as_llama(context_tokens),
    }
    if question.constraint is not None:
        request["grammar"] = question.constraint.grammar
    return request


def pieces_of(
    chunks: Iterator[Mapping[str, Any]], question: Question, queue_seconds: float, before: Usage = NOTHING
) -> Generator[Piece, None, Usage | None]:
    """The answer; what it took is returned, with what was read `before` to have it in the cache."""
    kept: list[str] | None = [] if question.constraint is not None and question.constraint.is_json else None
    for chunk in chunks:
        if "error" in chunk:
            raise _error(chunk["error"], question)
        if "prompt_progress" in chunk:
            continue
        piece = _piece(chunk, queue_seconds, before)
        if kept is not None:
            kept.append(piece.text)
            if piece.finish or len(kept) == 1:
                _check_json("".join(kept), is_whole=piece.finish == "stop")
        if piece.text or piece.finish:
            yield piece
        if piece.finish:
            return piece.usage
    raise Unavailable("llama.cpp ended the answer early; is the server shutting down?")


def _piece(chunk: Mapping[str, Any], queue_seconds: float, before: Usage) -> Piece:
    choice = chunk["choices"][0]
    finish = choice.get("finish_reason")
    if not finish:
        return Piece(choice["text"])
    usage, timings = chunk["usage"], chunk.get("timings", {})
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Piece(
        choice["text"],
        finish,
        Usage(
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            cached_tokens=max(cached - (before.prompt_tokens - before.cached_tokens), 0),
            queue_seconds=queue_seconds,
            prompt_seconds=timings.get("prompt_ms", 0.0) / 1000 + before.prompt_seconds,
            completion_seconds=timings.get("predicted_ms", 0.0) / 1000,
        ),
    )


def _check_json(text: str, *, is_whole: bool) -> None:
    """llguidance drops a schema without a word when it runs out of its limits; what comes then is hardly JSON.

    Raises InvalidArgument unless `text` is JSON, or, where it is not whole, its beginning.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        breaks_off = exc.msg.startswith("Unterminated string") or len(text) - exc.pos <= _LONGEST_JSON_TOKEN
        if is_whole or not breaks_off:
            raise InvalidArgument(
                "llama.cpp gave the JSON schema up while it answered: it contradicts itself, refers to itself without "
                "end, or is too complex; loosen its lengths and counts",
                field="constraint.json_schema",
            ) from exc


def _error(error: Mapping[str, Any], question: Question) -> StillhouseError:
    """llama.cpp's complaint as one of ours."""
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return InvalidArgument(
            f"the prompt has {error.get('n_prompt_tokens')} tokens and a slot has {error.get('n_ctx')}; "
            "shorten it or serve with more --context",
            field="prompt",
        )
    if "empty grammar stack" in message:
        return InvalidArgument(
            "the constraint came to a place that no token of this model fits; check its character classes",
            field="constraint",
        )
    if question.constraint is not None and ("grammar" in message or "sampler" in message):
        return InvalidArgument(f"llama.cpp does not take the constraint: {message}", field="constraint")
    if error.get("code") == 400:
        return InvalidArgument(f"llama.cpp refuses the request: {message}")
    if "memory" in message.lower() or "KV cache" in message or "context size" in message.lower():
        return ResourceExhausted(f"llama.cpp ran out of memory for this request: {message}")
    return Unavailable(f"llama.cpp failed: {message}")
