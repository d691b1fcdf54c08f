"""Values of demos and settings as JSON and back: equal when they come back, or refused.

Called when a program is captured or restored. Knows pydantic's types, no DSPy.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from stillhouse.programs.program import Json


def as_json(value: Any) -> Json:
    """The value itself, which is JSON in every part. Raises ValueError that says what is not."""
    if type(value) is list:
        return [as_json(item) for item in value]
    if type(value) is dict:
        if odd := [key for key in value if type(key) is not str]:
            raise ValueError(f"the key {odd[0]!r} is no text")
        return {key: as_json(item) for key, item in value.items()}
    if value is not None and type(value) not in (str, int, float, bool):
        raise ValueError(f"a {type(value).__name__} is no JSON")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    if isinstance(value, str) and not _is_text(value):
        raise ValueError("the text holds half a character")
    return value  # type: ignore[no-any-return]


def typed_json(value: Any, annotation: Any) -> Json:
    """A value of that type as JSON from which `typed_value` makes an equal one.

    Raises ValueError where there is none, and for sets: they have no order, so their prompt is another each time.
    """
    try:
        adapter = TypeAdapter(annotation)
        text = adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        written: Json = json.loads(text)
        back = typed_value(written, annotation)
    except (PydanticUserError, PydanticSerializationError, ValueError) as exc:
        raise ValueError(f"a {type(value).__name__} can't be written as {annotation}: {exc}") from exc
    if _holds_set(adapter.dump_python(value)):
        raise ValueError("a set has no order, so its prompt would not be the same twice; make it a list")
    if type(back) is not type(value) or back != value:
        raise ValueError(f"this {type(value).__name__} comes back from JSON as another value")
    return as_json(written)


def typed_value(written: Json, annotation: Any) -> Any:
    """The value of that type. Raises ValueError where the JSON is none."""
    try:
        return TypeAdapter(annotation).validate_json(json.dumps(written))
    except ValidationError as exc:
        raise ValueError(f"it is no {annotation}: {exc.errors()[0]['msg']}") from exc


def json_schema(annotation: Any) -> Json:
    """JSON schema of a type; None where it has none."""
    try:
        schema: Json = json.loads(json.dumps(TypeAdapter(annotation).json_schema()))
    except (PydanticUserError, TypeError, ValueError):
        return None
    return schema


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds_set(value: Any) -> bool:
    if isinstance(value, (set, frozenset)):
        return True
    if isinstance(value, dict):
        return any(map(_holds_set, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_set, value))
