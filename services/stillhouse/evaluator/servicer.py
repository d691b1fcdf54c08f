"""Evaluate over the network: supervises the same Job as the command does. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import evaluator_pb2, evaluator_pb2_grpc


class EvaluatorServicer(evaluator_pb2_grpc.EvaluatorServiceServicer):
    """Evaluate."""

    def __init__(self, operation: Operation[Any, Any], permissions: ServerPermissions) -> None:
        """`operation` is the evaluate stage; `permissions` what requests may name."""
        self._operation = operation
        self._permissions = permissions

    def Evaluate(  # noqa: N802 - named by the proto
        self, request: evaluator_pb2.EvaluateRequest, context: grpc.ServicerContext
    ) -> Iterator[evaluator_pb2.EvaluateResponse]:
        """Progress, then the result."""
        self._permissions.check(metric=request.metric, models=[request.teacher])
        yield from stream_operation(self._operation, request, context, evaluator_pb2.EvaluateResponse)
