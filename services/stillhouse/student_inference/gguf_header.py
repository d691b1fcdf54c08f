"""Reads the few facts of a GGUF header that decide how its model is loaded.

Called by the engine before llama.cpp sees the file. The layout is that of ggml's docs/gguf.md; the gguf package is not
needed where a student is only served.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stillhouse.errors import FailedPrecondition

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 1 << 24
_LONGEST_ARRAY = 1 << 26
_MOST_KEYS = 1 << 16


@dataclass(frozen=True)
class GgufHeader:
    """Facts of a model file; 0 and "" where it does not say."""

    architecture: str
    name: str
    context_tokens: int
    """What the model was trained for."""
    layers: int
    key_width: int
    """Numbers in the key of one attention head."""
    tokenizer: str
    """`gpt2` is byte-level BPE, `llama` is SentencePiece."""
    tokens: tuple[bytes, ...]
    """The vocabulary, as the file spells it."""


def read_header(path: Path) -> GgufHeader:
    """Raises FailedPrecondition where the file is not whole GGUF of version 2 or 3."""
    found: dict[str, object] = {}
    try:
        with path.open("rb") as stream:
            magic, version, _, keys = struct.unpack("<4sIQQ", _read(stream, 24))
            if magic != b"GGUF" or version not in (2, 3) or keys > _MOST_KEYS:
                raise ValueError("wrong magic or version")
            for _ in range(keys):
                key = _string(stream)
                kind = int(_scalar(stream, "I"))
                found[key] = _strings(stream) if key == "tokenizer.ggml.tokens" else _value(stream, kind)
    except (ValueError, struct.error) as exc:
        raise FailedPrecondition(f"{path} is not a whole GGUF file: {exc}", field="model") from exc
    architecture = str(found.get("general.architecture") or "")
    return GgufHeader(
        architecture=architecture,
        name=str(found.get("general.name") or ""),
        context_tokens=_whole(found.get(f"{architecture}.context_length")),
        layers=_whole(found.get(f"{architecture}.block_count")),
        key_width=_key_width(found, architecture),
        tokenizer=str(found.get("tokenizer.ggml.model") or ""),
        tokens=tokens if isinstance(tokens := found.get("tokenizer.ggml.tokens"), tuple) else (),
    )


def _key_width(found: Mapping[str, object], architecture: str) -> int:
    heads = _whole(found.get(f"{architecture}.attention.head_count"))
    shared = _whole(found.get(f"{architecture}.embedding_length")) // heads if heads else 0
    return _whole(found.get(f"{architecture}.attention.key_length")) or shared


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _read(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise ValueError("it ends inside its header")
    return data


def _scalar(stream: BinaryIO, code: str) -> int | float | bool:
    value: int | float | bool = struct.unpack(f"<{code}", _read(stream, struct.calcsize(f"<{code}")))[0]
    return value


def _string(stream: BinaryIO) -> str:
    length = int(_scalar(stream, "Q"))
    if length > _LONGEST_STRING:
        raise ValueError("a string without end in its header")
    return _read(stream, length).decode("utf-8", "replace")


def _value(stream: BinaryIO, kind: int) -> object:
    """A scalar or string; arrays are passed over."""
    if kind == _STRING:
        return _string(stream)
    if kind == _ARRAY:
        _pass_array(stream)
        return None
    if kind not in _SCALARS:
        raise ValueError(f"unknown value type {kind} in its header")
    return _scalar(stream, _SCALARS[kind])


def _strings(stream: BinaryIO) -> tuple[bytes, ...]:
    kind, length = int(_scalar(stream, "I")), int(_scalar(stream, "Q"))
    if kind != _STRING or length > _LONGEST_ARRAY:
        raise ValueError("a vocabulary that is no list of strings")
    return tuple(_read(stream, min(int(_scalar(stream, "Q")), _LONGEST_STRING)) for _ in range(length))


def _pass_array(stream: BinaryIO) -> None:
    kind, length = int(_scalar(stream, "I")), int(_scalar(stream, "Q"))
    if length > _LONGEST_ARRAY or kind == _ARRAY:
        raise ValueError("an array that no model has in its header")
    if kind == _STRING:
        for _ in range(length):
            stream.seek(int(_scalar(stream, "Q")), 1)
    elif kind in _SCALARS:
        stream.seek(length * struct.calcsize(f"<{_SCALARS[kind]}"), 1)
    else:
        raise ValueError(f"unknown array type {kind} in its header")
