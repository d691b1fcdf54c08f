"""Wires the optimizer: `python -m stillhouse.optimizer run --request URI`, or `serve`."""

from __future__ import annotations

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import os
import sys
from collections.abc import Sequence
from typing import Any

# DSPy draws bars on standard error, where a Job's log lines go; it is read when tqdm is imported.
os.environ.setdefault("TQDM_DISABLE", "1")

import grpc

from stillhouse.client.settings import StudentSettings
from stillhouse.optimizer.servicer import OptimizerServicer
from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.server import serve_main
from stillhouse.stages import OPTIMIZE
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import optimizer_pb2, optimizer_pb2_grpc
from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult

_SERVICE = optimizer_pb2.DESCRIPTOR.services_by_name["OptimizerService"].full_name


def run_optimize(context: JobContext, request: OptimizeRequest) -> OptimizeResult:
    """The stage, with what the environment says of its models."""
    # DSPy is needed where a request is executed, not where one is served.
    from stillhouse.optimizer.stage import run

    return run(context, request, StudentSettings.from_env(), environ=os.environ)


def operation() -> Operation[Any, Any]:
    """The optimize stage."""
    return Operation(
        OPTIMIZE.name, OPTIMIZE.logic_version, OptimizeRequest, run_optimize, module="stillhouse.optimizer"
    )


def serve(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code."""

    def add_services(server: grpc.Server) -> Sequence[str]:
        servicer = OptimizerServicer(operation(), ServerPermissions.from_env(os.environ))
        optimizer_pb2_grpc.add_OptimizerServiceServicer_to_server(servicer, server)
        return [_SERVICE]

    return serve_main("optimizer", add_services, arguments)


if __name__ == "__main__":
    sys.exit(job_main("optimizer", [operation()], serve))
