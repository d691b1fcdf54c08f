"""Messages in an Any."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any

from stillhouse.artifacts.messages import unpack_as
from stillhouse.errors import InvalidArgument
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.trainer_pb2 import TrainResult


def test_a_message_is_unpacked_as_what_it_is() -> None:
    packed = Any()
    packed.Pack(TrainResult(steps=3))
    assert unpack_as(packed, TrainResult) == TrainResult(steps=3)


def test_a_message_of_another_type_is_named() -> None:
    packed = Any()
    packed.Pack(TrainResult())
    with pytest.raises(InvalidArgument, match=r"v1\.TrainResult is where a stillhouse\.v1\.ExportResult belongs"):
        unpack_as(packed, ExportResult)
    with pytest.raises(InvalidArgument, match="nothing is where"):
        unpack_as(Any(), ExportResult)
