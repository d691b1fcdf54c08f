"""`python -m stillhouse.dataset_builder run --request URI | serve`: wiring only."""

from __future__ import annotations

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import os
from collections.abc import Sequence

import grpc

from stillhouse.dataset_builder.building import build
from stillhouse.dataset_builder.config import DatasetBuilderConfig
from stillhouse.dataset_builder.servicer import DatasetBuilderServicer
from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import Operation
from stillhouse.rpc.server import serve_main
from stillhouse.stages import DATASET
from stillhouse.v1 import dataset_builder_pb2
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult
from stillhouse.v1.dataset_builder_pb2_grpc import add_DatasetBuilderServiceServicer_to_server

BUILD: Operation[BuildDatasetRequest, BuildDatasetResult] = Operation(
    stage=DATASET.name,
    logic_version=DATASET.logic_version,
    request_type=BuildDatasetRequest,
    run=build,
    module="stillhouse.dataset_builder",
)


def add_services(server: grpc.Server) -> Sequence[str]:
    """Adds the service; returns its full name. Raises InvalidArgument where the environment is wrong."""
    servicer = DatasetBuilderServicer(BUILD, DatasetBuilderConfig.from_env(os.environ))
    add_DatasetBuilderServiceServicer_to_server(servicer, server)
    return [dataset_builder_pb2.DESCRIPTOR.services_by_name["DatasetBuilderService"].full_name]


def serve(arguments: Sequence[str]) -> int:
    """Offers the build over the network until told to stop; returns the exit code."""
    return serve_main("dataset_builder", add_services, arguments)


def main() -> int:
    """The exit code of the process."""
    return job_main("dataset_builder", [BUILD], serve)


if __name__ == "__main__":
    raise SystemExit(main())
