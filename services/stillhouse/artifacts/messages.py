"""The package's messages by name, so that an Any can be read and JSON that holds one can be parsed and printed.

Called by digests, references, the store and the job runner. It must not know any particular message.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import TypeVar

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from stillhouse import v1
from stillhouse.errors import InvalidArgument

MessageT = TypeVar("MessageT", bound=Message)


@cache
def load_vocabulary() -> None:
    """Makes every message of stillhouse.v1 known to the descriptor pool. Needed before JSON with an Any is read."""
    importlib.import_module(struct_pb2.__name__)
    for module in pkgutil.iter_modules(v1.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{v1.__name__}.{module.name}")


def unpack_any(packed: any_pb2.Any) -> Message:
    """The message in `packed`, in its own type. Raises InvalidArgument if the type is unknown or the bytes broken."""
    load_vocabulary()
    name = packed.TypeName()
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError as exc:
        raise InvalidArgument(
            f"message type {name or '(none)'!r} is unknown to this version of stillhouse; use the one that wrote it"
        ) from exc
    message = message_factory.GetMessageClass(descriptor)()
    try:
        message.ParseFromString(packed.value)
    except DecodeError as exc:
        raise InvalidArgument(f"the bytes of a {name} can't be read: {exc}") from exc
    return message


def unpack_as(packed: any_pb2.Any, message_type: type[MessageT]) -> MessageT:
    """The message in `packed`, which is of that type. Raises InvalidArgument if it is not."""
    message = message_type()
    if not packed.Unpack(message):
        raise InvalidArgument(
            f"{packed.TypeName() or 'nothing'} is where a {message.DESCRIPTOR.full_name} belongs; "
            "use the version of stillhouse that wrote it"
        )
    return message


def children(message: Message) -> Iterator[tuple[FieldDescriptor, Message]]:
    """Every set message field of `message` with its message, in field order, through lists and map values."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not is_map(field):
            yield from ((field, item) for item in (value if field.is_repeated else (value,)))
        elif field.message_type.fields_by_name["value"].message_type is not None:
            yield from ((field, value[key]) for key in sorted(value))


def is_map(field: FieldDescriptor) -> bool:
    """True for a map field."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def message_json(message: Message) -> str:
    """Proto JSON under proto field names, two-space indent, keys in field order; what the store keeps."""
    load_vocabulary()
    return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=2) + "\n"


def parse_json(text: str | bytes, message: MessageT, *, source: str) -> MessageT:
    """Reads proto JSON into `message` and returns it. Raises InvalidArgument naming `source` and the place."""
    load_vocabulary()
    try:
        json_format.Parse(text, message)
    except (json_format.ParseError, UnicodeDecodeError) as exc:
        raise InvalidArgument(f"{source} is no {message.DESCRIPTOR.full_name} in JSON: {exc}") from exc
    return message
