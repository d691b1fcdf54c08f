"""Finds the artifacts that a message names. Called by the job runner and the plan; it must not know any message."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import any_pb2
from google.protobuf.message import Message

from stillhouse.artifacts.messages import children, unpack_any
from stillhouse.v1.artifact_pb2 import Artifact


def artifacts_in(message: Message) -> Iterator[Artifact]:
    """Every Artifact in `message` that has a digest, in field order, through lists, maps and Any.

    Raises InvalidArgument if an Any holds a type that is not known.
    """
    if isinstance(message, Artifact):
        if message.sha256:
            yield message
        return
    if isinstance(message, any_pb2.Any):
        if message.type_url:
            yield from artifacts_in(unpack_any(message))
        return
    for _, child in children(message):
        yield from artifacts_in(child)
