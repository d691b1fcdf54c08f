"""`python -m stillhouse.student_inference serve ...`: wires configuration, model, engine, servicer and server.

Started by a user, `stillhouse serve-student`, the local runner or a Deployment. The one place that reads flags and
environment.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

import structlog

from stillhouse.errors import EXIT_DONE, EXIT_TERMINATED, EXIT_USAGE, InvalidArgument, StillhouseError
from stillhouse.rpc.server import RunningServer, ServerConfig, serve_until_terminated, start_server
from stillhouse.student_inference.config import StudentConfig
from stillhouse.student_inference.engine import Engine
from stillhouse.student_inference.model_file import ModelFile, locate_model
from stillhouse.student_inference.servicer import StudentServicer
from stillhouse.v1 import student_inference_pb2, student_inference_pb2_grpc

_SERVICE = student_inference_pb2.DESCRIPTOR.services_by_name["StudentInferenceService"].full_name
_SPARE_WORKERS = 8
"""gRPC threads beyond slots and queue, so that health, GetModelInfo and refusals are answered while all are busy."""
_GIVE_UP_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code is that of the table in `stillhouse.errors`."""
    if not arguments or arguments[0] != "serve":
        print("usage: python -m stillhouse.student_inference serve --model FILE|sha256:HEX [...]", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    log = structlog.get_logger("student_inference")
    try:
        config = StudentConfig.from_arguments(arguments[1:])
        _serve(config, log)
    except InvalidArgument as exc:
        log.error("refused", error=exc.message, field=exc.field)
        return EXIT_USAGE
    except StillhouseError as exc:
        log.error("failed", error=exc.message)
        return exc.exit_code
    return EXIT_DONE
