"""Offers the generation over the network: each call supervises a `run` of the same request. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1.teacher_generator_pb2 import (
    GenerateRecordsRequest,
    GenerateRecordsResponse,
    GenerateRecordsResult,
)
from stillhouse.v1.teacher_generator_pb2_grpc import TeacherGeneratorServiceServicer


class TeacherGeneratorServicer(TeacherGeneratorServiceServicer):
    """GenerateRecords."""

    def __init__(
        self, operation: Operation[GenerateRecordsRequest, GenerateRecordsResult], permissions: ServerPermissions
    ) -> None:
        """`operation` is the generation; `permissions` what requests may name."""
        self._operation = operation
        self._permissions = permissions

    def GenerateRecords(  # noqa: N802 - named by the proto
        self, request: GenerateRecordsRequest, context: grpc.ServicerContext
    ) -> Iterator[GenerateRecordsResponse]:
        """Progress until one last message with the result."""
        self._permissions.check(metric=request.metric, models=[stage.teacher for stage in request.stages])
        yield from stream_operation(self._operation, request, context, GenerateRecordsResponse)
