"""Wires the trainer: `python -m stillhouse.trainer run --request URI`, or `serve`."""

from __future__ import annotations

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import os
import sys
from collections.abc import Sequence
from typing import Any

import grpc

from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.server import serve_main
from stillhouse.stages import BASE, TRAIN
from stillhouse.trainer.config import TrainerConfig
from stillhouse.trainer.servicer import TrainerServicer
from stillhouse.v1 import trainer_pb2, trainer_pb2_grpc
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult, TrainRequest, TrainResult

_SERVICE = trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name


def run_prepare_base(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    """The base stage with this process's configuration."""
    _prepare_process()
    # transformers takes seconds to import, and `serve` never needs it: its work is done in subprocesses.
    from stillhouse.trainer.bases import prepare_base

    return prepare_base(context, request, TrainerConfig.from_env())


def run_train(context: JobContext, request: TrainRequest) -> TrainResult:
    """The train stage with this process's configuration."""
    _prepare_process()
    from stillhouse.trainer.training import train

    return train(context, request, TrainerConfig.from_env())


def _prepare_process() -> None:
    """Before torch is loaded, because OpenMP reads its environment then.

    Threads that spin at barriers make a training 6 times slower as soon as anything else runs on the same cores
    (20 tokens/s against 120, measured on 2 busy cores); threads that sleep cost next to nothing on idle ones.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def prepare_base_operation() -> Operation[Any, Any]:
    """The base stage."""
    return Operation(BASE.name, BASE.logic_version, PrepareBaseRequest, run_prepare_base, module="stillhouse.trainer")


def train_operation() -> Operation[Any, Any]:
    """The train stage."""
    return Operation(TRAIN.name, TRAIN.logic_version, TrainRequest, run_train, module="stillhouse.trainer")


def serve(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code."""

    def add_services(server: grpc.Server) -> Sequence[str]:
        servicer = TrainerServicer(prepare_base_operation(), train_operation())
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(servicer, server)
        return [_SERVICE]

    return serve_main("trainer", add_services, arguments)


if __name__ == "__main__":
    sys.exit(job_main("trainer", [prepare_base_operation(), train_operation()], serve))
