"""`python -m stillhouse.teacher_generator run --request URI | serve`: wiring only."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import grpc

from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.server import serve_main
from stillhouse.stages import GENERATE
from stillhouse.teacher_generator.servicer import TeacherGeneratorServicer
from stillhouse.teacher_generator.stage import generate
from stillhouse.teachers.permission import ServerPermissions
from stillhouse.v1 import teacher_generator_pb2
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult
from stillhouse.v1.teacher_generator_pb2_grpc import add_TeacherGeneratorServiceServicer_to_server


def run_generate(context: JobContext, request: GenerateRecordsRequest) -> GenerateRecordsResult:
    """The stage, with the credentials of this process's environment."""
    return generate(context, request, environ=os.environ)


OPERATION: Operation[GenerateRecordsRequest, GenerateRecordsResult] = Operation(
    stage=GENERATE.name,
    logic_version=GENERATE.logic_version,
    request_type=GenerateRecordsRequest,
    run=run_generate,
    module="stillhouse.teacher_generator",
)


def add_services(server: grpc.Server) -> Sequence[str]:
    """Adds the service; returns its full name. Raises InvalidArgument where the environment is wrong."""
    servicer = TeacherGeneratorServicer(OPERATION, ServerPermissions.from_env(os.environ))
    add_TeacherGeneratorServiceServicer_to_server(servicer, server)
    return [teacher_generator_pb2.DESCRIPTOR.services_by_name["TeacherGeneratorService"].full_name]


def serve(arguments: Sequence[str]) -> int:
    """Offers the generation over the network until told to stop; returns the exit code."""
    return serve_main("teacher_generator", add_services, arguments)


def main() -> int:
    """The exit code of the process."""
    return job_main("teacher_generator", [OPERATION], serve)


if __name__ == "__main__":
    raise SystemExit(main())
