"""Offers the generation over the network: each call supervises a `run` of the same request. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from stillhouse.roles.metric_reference import refuse_custom_metric
from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.teacher_generator.config import TeacherGeneratorConfig
from stillhouse.teachers.permission import refuse_own_endpoint
from stillhouse.v1.teacher_generator_pb2 import (
    GenerateRecordsRequest,
    GenerateRecordsResponse,
    GenerateRecordsResult,
)
from stillhouse.v1.teacher_generator_pb2_grpc import TeacherGeneratorServiceServicer


class TeacherGeneratorServicer(TeacherGeneratorServiceServicer):
    """GenerateRecords."""

    def __init__(
        self, operation: Operation[GenerateRecordsRequest, GenerateRecordsResult], config: TeacherGeneratorConfig
    ) -> None:
        """`operation` is the generation; `config` what this server permits."""
        self._operation = operation
        self._config = config

    def GenerateRecords(  # noqa: N802 - named by the proto
        self, request: GenerateRecordsRequest, context: grpc.ServicerContext
    ) -> Iterator[GenerateRecordsResponse]:
        """Progress until one last message with the result."""
        if request.metric and not self._config.allow_custom_metric:
            refuse_custom_metric(request.metric)
        if not self._config.allow_endpoint:
            for stage in request.stages:
                refuse_own_endpoint(stage.teacher)
        yield from stream_operation(self._operation, request, context, GenerateRecordsResponse)
