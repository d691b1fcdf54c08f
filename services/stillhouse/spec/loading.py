"""Reads a Distillation from YAML and applies --set overrides; errors name the path and the nearest known key."""

from __future__ import annotations

import difflib
import itertools
import re
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.spec.models import Distillation, DistillationSpec
from stillhouse.spec.scalars import load_yaml

MAX_FILE_BYTES = 1 << 20
_PATH_PART = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\[[0-9]{1,4}\])*)")


def load_distillation(path: Path, overrides: Sequence[str] = ()) -> Distillation:
    """The Distillation of that file.

    `overrides` are PATH=VALUE with paths below `spec`, such as `dataset.imports[0].uri=rows.jsonl`; values are YAML.
    Raises NotFound for a missing file and InvalidArgument that lists every problem with its path.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as exc:
        raise NotFound(f"{path} does not exist; `stillhouse init` writes a file to start from") from exc
    except OSError as exc:
        raise InvalidArgument(f"{path} cannot be read: {exc.strerror}") from exc
    if len(text) > MAX_FILE_BYTES:
        raise InvalidArgument(f"{path} has {len(text)} bytes; a Distillation has at most {MAX_FILE_BYTES}")
    try:
        document = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(document, dict):
        raise InvalidArgument(f"{path} is not a Distillation: its top level is no mapping")
    for override in overrides:
        _apply(document, override)
    return parse_distillation(document, source=str(path))


def parse_distillation(document: dict[str, Any], *, source: str) -> Distillation:
    """The Distillation in a mapping. Raises InvalidArgument that lists every problem with its path."""
    try:
        return Distillation.model_validate(document)
    except ValidationError as exc:
        problems = [_explain(error) for error in exc.errors(include_url=False)]
        raise InvalidArgument(f"{source}: " + "; ".join(problems), field=_path(exc.errors()[0]["loc"])) from exc


def _explain(error: ErrorDetails) -> str:
    location = [part for part in error["loc"] if part != "[key]"]
    path = _path(location)
    if error["type"] == "extra_forbidden":
        known = _fields_of(_type_at(Distillation, error["loc"][:-1]))
        return f"{path} is unknown; {_hint(error['loc'][-1], known)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {message[0].lower()}{message[1:]}"


def _path(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def _apply(document: dict[str, Any], override: str) -> None:
    path, equals, raw = override.partition("=")
    if not equals:
        raise InvalidArgument(f"--set {override}: write PATH=VALUE", field="set")
    location = _split_path(path.removeprefix("spec."), override)
    annotation = _type_at(DistillationSpec, location, strict=f"--set {path}")
    node: Any = _descend(document, "spec", {}, path)
    for part, following in itertools.pairwise(location):
        node = _descend(node, part, [] if isinstance(following, int) else {}, path)
    _assign(node, location[-1], _value(raw, annotation, path), path)


def _split_path(path: str, override: str) -> list[int | str]:
    location: list[int | str] = []
    for piece in path.split("."):
        match = _PATH_PART.fullmatch(piece)
        if match is None:
            raise InvalidArgument(f"--set {override}: {piece!r} is no key such as imports[0]", field="set")
        location.append(match[1])
        location += [int(index) for index in re.findall(r"\d+", match[2])]
    return location


def _descend(node: Any, part: int | str, empty: Any, path: str) -> Any:
    """The value at that key or index, `empty` put there where there is none."""
    found = None
    if isinstance(node, dict):
        found = node.get(part)
    elif isinstance(node, list) and isinstance(part, int) and part < len(node):
        found = node[part]
    if found is None:
        _assign(node, part, empty, path)
        return empty
    return found


def _assign(node: Any, part: int | str, value: Any, path: str) -> None:
    if isinstance(part, int):
        if not isinstance(node, list) or part > len(node):
            raise InvalidArgument(f"--set {path}: there is no entry before [{part}]", field="set")
        node[part : part + 1] = [value]
    elif isinstance(node, dict):
        node[part] = value
    else:
        raise InvalidArgument(f"--set {path}: {part} is below a value that is no mapping", field="set")


def _value(raw: str, annotation: Any, path: str) -> Any:
    """Text stays text where the spec wants a string; everything else is YAML."""
    if raw != "null" and str in _alternatives(annotation):
        return raw
    try:
        return load_yaml(raw)
    except (yaml.YAMLError, ValueError) as exc:
        raise InvalidArgument(f"--set {path}: {raw!r} is not YAML", field="set") from exc


def _type_at(model: type[BaseModel], location: Sequence[int | str], *, strict: str | None = None) -> Any:
    """The annotation at a location below the model; None where there is none (an error when `strict` names it)."""
    annotation: Any = model
    for part in location:
        if (entry := _entry_of(annotation, part)) is not None:
            annotation = entry
            continue
        fields = _fields_of(annotation)
        if part not in fields:
            if strict:
                known = [*fields, *_keys_of(annotation)]
                raise InvalidArgument(f"{strict}: {part} is unknown; {_hint(part, known)}", field="set")
            return None
        annotation = fields[str(part)].annotation
    return annotation


def _entry_of(annotation: Any, part: int | str) -> Any:
    """The annotation of a list's or a map's entries; None where it has no such entry."""
    for alternative in _alternatives(annotation):
        if get_origin(alternative) is list and isinstance(part, int):
            return get_args(alternative)[0]
        if get_origin(alternative) is dict and isinstance(part, str) and part in (_keys_of(alternative) or [part]):
            return get_args(alternative)[1]
    return None


def _keys_of(annotation: Any) -> list[str]:
    """The keys that a map may have; none where they are free."""
    maps = [alternative for alternative in _alternatives(annotation) if get_origin(alternative) is dict]
    return [key for keys in maps if get_origin(get_args(keys)[0]) is Literal for key in get_args(get_args(keys)[0])]


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for part in get_args(annotation) for inner in _alternatives(part)]
    return [annotation]


def _fields_of(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of the model that may stand there, by their keys in the file; none where it is no model."""
    for alternative in _alternatives(annotation):
        if isinstance(alternative, type) and issubclass(alternative, BaseModel):
            return {info.alias or name: info for name, info in alternative.model_fields.items()}
    return {}


def _hint(key: int | str, known: Iterable[str]) -> str:
    known = list(known)
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known here: {', '.join(known) or 'nothing'}"
