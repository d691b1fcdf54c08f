"""Wires the exporter: `python -m stillhouse.exporter run --request URI`, or `serve`."""

from __future__ import annotations

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import os
import sys
from collections.abc import Sequence
from typing import Any

import grpc

from stillhouse.exporter.config import ExporterConfig
from stillhouse.exporter.servicer import ExporterServicer
from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.server import serve_main
from stillhouse.stages import EXPORT
from stillhouse.v1 import exporter_pb2, exporter_pb2_grpc
from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult

_SERVICE = exporter_pb2.DESCRIPTOR.services_by_name["ExporterService"].full_name


def run_job(context: JobContext, request: ExportRequest) -> ExportResult:
    """The stage with this process's configuration."""
    # Torch takes seconds to import, and `serve` never needs it: its work is done in subprocesses.
    from transformers.utils.logging import disable_progress_bar

    from stillhouse.exporter.export import run_export

    disable_progress_bar()

    return run_export(context, request, ExporterConfig.from_env(os.environ))


def operation() -> Operation[Any, Any]:
    """The export stage."""
    return Operation(EXPORT.name, EXPORT.logic_version, ExportRequest, run_job, module="stillhouse.exporter")


def serve(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code."""

    def add_services(server: grpc.Server) -> Sequence[str]:
        exporter_pb2_grpc.add_ExporterServiceServicer_to_server(ExporterServicer(operation()), server)
        return [_SERVICE]

    return serve_main("exporter", add_services, arguments)


if __name__ == "__main__":
    sys.exit(job_main("exporter", [operation()], serve))
