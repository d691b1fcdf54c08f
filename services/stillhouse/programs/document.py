"""A program as the bytes of a program.json, and back.

Called by the folder and the commands. Knows no DSPy and no file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from stillhouse.errors import InvalidArgument
from stillhouse.programs.program import FORMAT, Json, Program

MAX_BYTES = 16 * 1024**2
_PROGRAM = TypeAdapter(Program)


def program_bytes(program: Program) -> bytes:
    """Indented UTF-8 JSON with a line break at its end; the same program gives the same bytes.

    Settings are sorted; modules, predictors, fields and demos stand in their order, which means something.
    Raises InvalidArgument where a value is no JSON (NaN, half a character, nested too deep).
    """
    return json_bytes(program_document(program))


def program_sha256(program: Program) -> str:
    """SHA-256 of `program_bytes`, which names the program."""
    return hashlib.sha256(program_bytes(program)).hexdigest()


def program_document(program: Program) -> dict[str, Any]:
    """The content of program.json as dicts and lists."""
    document = {"format": program.format, **asdict(program)}
    for predictor in document["predictors"].values():
        for settings in ("config", "decisions", "lm"):
            if predictor[settings] is not None:
                predictor[settings] = dict(sorted(predictor[settings].items()))
    return document


def read_program(data: bytes, *, source: str) -> Program:
    """The program in those bytes.

    Raises InvalidArgument naming `source` and the place of anything that is no program.json of this format.
    """
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{source} has more than {MAX_BYTES // 1024**2} MiB: it is no program.json")
    try:
        program = _PROGRAM.validate_json(data, strict=True, extra="forbid")
    except ValidationError as exc:
        raise InvalidArgument(f"{source} is no program.json: {_first(exc.errors())}") from exc
    if missing := [name for name in program.predictors if name not in program.modules]:
        raise InvalidArgument(f"{source}: predictor {missing[0]} is not among the modules")
    return program


def json_bytes(document: Mapping[str, Json]) -> bytes:
    """Indented UTF-8 JSON with a line break at its end. Raises InvalidArgument where a value is no JSON."""
    try:
        return (json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"a value can't be written as JSON: {exc}") from exc


def _first(errors: list[ErrorDetails]) -> str:
    """The error that says most: another format explains all others."""
    error = next((error for error in errors if error["loc"] == ("format",)), errors[0])
    place = ".".join(map(str, error["loc"]))
    remedy = f"; this version of stillhouse reads {FORMAT}" if place == "format" else ""
    return f"{place}: {error['msg']}{remedy}" if place else error["msg"]
