"""Export over the network: supervises the same Job as the command does. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.v1 import exporter_pb2, exporter_pb2_grpc


class ExporterServicer(exporter_pb2_grpc.ExporterServiceServicer):
    """Export."""

    def __init__(self, operation: Operation[Any, Any]) -> None:
        """`operation` is the export stage."""
        self._operation = operation

    def Export(  # noqa: N802 - named by the proto
        self, request: exporter_pb2.ExportRequest, context: grpc.ServicerContext
    ) -> Iterator[exporter_pb2.ExportResponse]:
        """Progress, then the result."""
        yield from stream_operation(self._operation, request, context, exporter_pb2.ExportResponse)
