"""`python -m stillhouse.dataset_builder run --request URI | serve`: wiring only."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stillhouse.dataset_builder.building import build
from stillhouse.dataset_builder.config import DatasetBuilderConfig
from stillhouse.rpc.job import Operation, job_main
from stillhouse.stages import DATASET
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult

BUILD: Operation[BuildDatasetRequest, BuildDatasetResult] = Operation(
    stage=DATASET.name, logic_version=DATASET.logic_version, request_type=BuildDatasetRequest, run=build
)


def serve(arguments: Sequence[str]) -> int:
    """Offers BuildDataset over the network until it is told to stop."""
    from stillhouse.dataset_builder.servicer import DatasetBuilderServicer  # noqa: PLC0415
    raise NotImplementedError


def main() -> int:
    """The exit code of the process."""
    return job_main("dataset_builder", [BUILD], serve)


if __name__ == "__main__":
    raise SystemExit(main())
