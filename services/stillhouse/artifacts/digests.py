"""The digest that names what a request makes: canonical JSON (RFC 8785) of the message, and its SHA-256; and files'.

Called by the plan and the job runner. It must not know any particular request: everything follows from the descriptor.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast

import rfc8785
from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stillhouse.artifacts.messages import children, is_map, unpack_any
from stillhouse.errors import InvalidArgument
from stillhouse.v1 import artifact_pb2, common_pb2

MessageT = TypeVar("MessageT", bound=Message)

_WIDE_INTEGERS = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def canonical_json(message: Message) -> bytes:
    """The one JSON text (RFC 8785, UTF-8) of everything in `message` that decides a result.

    Every field is printed under its proto name: an unset message, optional or oneof field is null, an unset list []
    and an unset map {}. Fields marked `execution_only` are left out. Doubles are normalised decimal strings, 64-bit
    integers decimal strings, enums their value's name, bytes base64. Raises InvalidArgument for a NaN or an infinity.
    """
    return _dumps(_tree(message, ""))


def request_key(stage: str, logic_version: int, request: Message) -> str:
    """Lower-case hexadecimal SHA-256 that names the result of `request`: equal requests have equal keys everywhere."""
    tree: Any = {
        "stage": stage,
        "logic_version": logic_version,
        "type": request.DESCRIPTOR.full_name,
        "request": _tree(request, ""),
    }
    return hashlib.sha256(_dumps(tree)).hexdigest()


def without_execution_fields(request: MessageT) -> MessageT:
    """A copy of `request` without its execution-only fields, at any depth.

    Artifacts stay whole: their size, type and producer say nothing of the execution, and the producer is the lineage.
    """
    copy = type(request)()
    copy.CopyFrom(request)
    _clear_execution_fields(copy)
    return copy


def decimal_text(value: float, path: str = "value") -> str:
    """The shortest decimal that reads back as `value`, no exponent, no trailing zeros: 2e-4 and 0.0002 are `0.0002`.

    Raises InvalidArgument naming `path` for a NaN or an infinity.
    """
    if not math.isfinite(value):
        raise InvalidArgument(f"{path} is {value}; give a finite number", field=path)
    if value == 0:
        return "0"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def file_sha256(path: Path) -> str:
    """Lower-case hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_execution_only(field: FieldDescriptor) -> bool:
    """True if the field says how a request is executed, not what it makes."""
    return bool(field.GetOptions().Extensions[common_pb2.execution_only])


def _tree(message: Message, path: str) -> dict[str, Any]:
    if isinstance(message, any_pb2.Any):
        inner = unpack_any(message)
        return {"type": inner.DESCRIPTOR.full_name, "value": _tree(inner, path)}
    return {
        field.name: _field(message, field, f"{path}.{field.name}" if path else field.name)
        for field in _fields(message)
        if not is_execution_only(field)
    }


def _fields(message: Message) -> Iterable[FieldDescriptor]:
    return cast("Iterable[FieldDescriptor]", message.DESCRIPTOR.fields)


def _field(message: Message, field: FieldDescriptor, path: str) -> Any:
    if is_map(field):
        value_field = cast("Any", field.message_type).fields_by_name["value"]
        entries = getattr(message, field.name)
        return {_key_text(key): _value(entries[key], value_field, f"{path}[{key}]") for key in entries}
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(item, field, f"{path}[{index}]") for index, item in enumerate(value)]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field, path)


def _value(value: Any, field: FieldDescriptor, path: str) -> Any:
    if field.message_type is not None:
        return _tree(value, path)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else int(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode("ascii")
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return decimal_text(value, path)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return decimal_text(_shortest_single(value), path)
    if field.cpp_type in _WIDE_INTEGERS:
        return str(value)
    return value


def _shortest_single(value: float) -> float:
    """The number with the fewest digits that is the same single: proto gives 0.1f back as 0.10000000149011612."""
    if not math.isfinite(value):
        return value
    single = struct.pack("<f", value)
    for digits in range(1, 9):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == single:
            return short
    return float(f"{value:.9g}")


def _key_text(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _clear_execution_fields(message: Message) -> None:
    if isinstance(message, artifact_pb2.Artifact):
        return
    if isinstance(message, any_pb2.Any):
        inner = unpack_any(message)
        _clear_execution_fields(inner)
        message.Pack(inner)
        return
    for field, _ in message.ListFields():
        if is_execution_only(field):
            message.ClearField(cast("Any", field.name))
    for _, child in children(message):
        _clear_execution_fields(child)


def _dumps(tree: Any) -> bytes:
    data: bytes = rfc8785.dumps(tree)
    return data
