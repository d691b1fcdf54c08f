"""Wires the evaluator: `python -m stillhouse.evaluator run --request URI`, or `serve`."""

from __future__ import annotations

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import os
import sys
from collections.abc import Sequence
from typing import Any

import grpc

from stillhouse.client.settings import StudentSettings
from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.asking import Patience
from stillhouse.evaluator.connection import connect
from stillhouse.evaluator.servicer import EvaluatorServicer
from stillhouse.evaluator.stage import evaluate, evaluate_teacher
from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.server import serve_main
from stillhouse.stages import EVALUATE
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import evaluator_pb2, evaluator_pb2_grpc
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult

_SERVICE = evaluator_pb2.DESCRIPTOR.services_by_name["EvaluatorService"].full_name


def run_evaluate(context: JobContext, request: EvaluateRequest) -> EvaluateResult:
    """The stage against the request's teacher, or the student at its address."""
    if request.HasField("teacher"):
        return evaluate_teacher(context, request, environ=os.environ)
    config = StudentSettings.from_env()
    if not request.student_address:
        raise InvalidArgument(
            "the request names no student and no teacher; set student_address", field="student_address"
        )
    with connect(
        request.student_address,
        token=config.student_token,
        ca=config.student_ca,
        wait_seconds=config.wait_seconds,
        deadline_seconds=config.row_deadline_seconds,
        stopping=context.stopping,
    ) as student:
        return evaluate(context, request, student, patience=Patience(away_seconds=config.wait_seconds))


def operation() -> Operation[Any, Any]:
    """The evaluate stage."""
    return Operation(
        EVALUATE.name, EVALUATE.logic_version, EvaluateRequest, run_evaluate, module="stillhouse.evaluator"
    )


def serve(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code."""

    def add_services(server: grpc.Server) -> Sequence[str]:
        servicer = EvaluatorServicer(operation(), ServerPermissions.from_env(os.environ))
        evaluator_pb2_grpc.add_EvaluatorServiceServicer_to_server(servicer, server)
        return [_SERVICE]

    return serve_main("evaluator", add_services, arguments)


if __name__ == "__main__":
    sys.exit(job_main("evaluator", [operation()], serve))
