"""Offers PrepareBase and Train over the network: each call supervises a `run` of the same request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.operation import Operation
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResponse, TrainRequest, TrainResponse
from stillhouse.v1.trainer_pb2_grpc import TrainerServiceServicer


class TrainerServicer(TrainerServiceServicer):
    """TrainerService; the work is done in subprocesses, so one that runs out of memory does not end the server."""

    def __init__(self, prepare_base: Operation[Any, Any], train: Operation[Any, Any]) -> None:
        """The two operations, as `run` executes them."""
        self._prepare_base = prepare_base
        self._train = train

    def PrepareBase(  # noqa: N802 - named by the proto
        self, request: PrepareBaseRequest, context: grpc.ServicerContext
    ) -> Iterator[PrepareBaseResponse]:
        """Progress until one last message with the base."""
        yield from stream_operation(self._prepare_base, request, context, PrepareBaseResponse)

    def Train(  # noqa: N802 - named by the proto
        self, request: TrainRequest, context: grpc.ServicerContext
    ) -> Iterator[TrainResponse]:
        """Progress until one last message with the adapter."""
        yield from stream_operation(self._train, request, context, TrainResponse)
