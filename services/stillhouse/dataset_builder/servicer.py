"""Offers the build over the network: each call supervises a `run` of the same request. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from stillhouse.dataset_builder.config import DatasetBuilderConfig
from stillhouse.roles.metric_reference import refuse_custom_metric
from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResponse, BuildDatasetResult
from stillhouse.v1.dataset_builder_pb2_grpc import DatasetBuilderServiceServicer


class DatasetBuilderServicer(DatasetBuilderServiceServicer):
    """BuildDataset."""

    def __init__(
        self, operation: Operation[BuildDatasetRequest, BuildDatasetResult], config: DatasetBuilderConfig
    ) -> None:
        """`operation` is the build; `config` what this server permits."""
        self._operation = operation
        self._config = config

    def BuildDataset(  # noqa: N802 - named by the proto
        self, request: BuildDatasetRequest, context: grpc.ServicerContext
    ) -> Iterator[BuildDatasetResponse]:
        """Progress until one last message with the result."""
        if request.metric and not self._config.allow_custom_metric:
            refuse_custom_metric(request.metric)
        yield from stream_operation(self._operation, request, context, BuildDatasetResponse)
