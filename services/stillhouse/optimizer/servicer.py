"""Optimize over the network: supervises the same Job as the command does. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import optimizer_pb2, optimizer_pb2_grpc


class OptimizerServicer(optimizer_pb2_grpc.OptimizerServiceServicer):
    """Optimize."""

    def __init__(self, operation: Operation[Any, Any], permissions: ServerPermissions) -> None:
        """`operation` is the optimize stage; `permissions` what requests may name."""
        self._operation = operation
        self._permissions = permissions

    def Optimize(  # noqa: N802 - named by the proto
        self, request: optimizer_pb2.OptimizeRequest, context: grpc.ServicerContext
    ) -> Iterator[optimizer_pb2.OptimizeResponse]:
        """Progress, then the result."""
        models = [request.teacher, request.prompt_model, request.demo_model]
        self._permissions.check(metric=request.metric, models=models)
        yield from stream_operation(self._operation, request, context, optimizer_pb2.OptimizeResponse)
