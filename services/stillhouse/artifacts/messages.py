"""The package's messages by name, so that an Any can be read and JSON that holds one can be parsed and printed.

Called by digests, references, the store and the job runner. It must not know any particular message.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TypeVar

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory, struct_pb2
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
    """The message in `packed`, in its own type. Raises InvalidArgument if its type is unknown here or its bytes broken."""
    load_vocabulary()
    name = packed.TypeName()
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError as exc:
        raise InvalidArgument(
            f"message type {name or '(none)'!r} is not known to this version of stillhouse; use the version that wrote it"
        ) from exc
    message = message_factory.GetMessageClass(descriptor)()
    try:
        message.ParseFromString(packed.value)
    except DecodeError as exc:
        raise InvalidArgument(f"the bytes of a {name} can't be read: {exc}") from exc
    return message


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
