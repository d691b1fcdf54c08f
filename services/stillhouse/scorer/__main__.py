"""`python -m stillhouse.scorer serve`: wiring only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import grpc

from stillhouse.rpc.server import serve_main
from stillhouse.scorer.config import ScorerConfig
from stillhouse.scorer.servicer import ScorerServicer
from stillhouse.v1 import scorer_pb2
from stillhouse.v1.scorer_pb2_grpc import add_ScorerServiceServicer_to_server


def add_services(server: grpc.Server) -> Sequence[str]:
    """Adds the service; returns its full name. Raises InvalidArgument where the environment is wrong."""
    add_ScorerServiceServicer_to_server(ScorerServicer(ScorerConfig.from_env(os.environ).limits), server)
    return [scorer_pb2.DESCRIPTOR.services_by_name["ScorerService"].full_name]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the process."""
    parser = argparse.ArgumentParser(prog="python -m stillhouse.scorer")
    parser.add_argument("command", choices=["serve"], help="offer scoring over gRPC; `serve --help` tells its flags")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser.parse_args(arguments[:1])
    return serve_main("scorer", add_services, arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main())
