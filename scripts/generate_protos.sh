#!/bin/sh
# Writes the protobuf and gRPC stubs into the folder named by $1 (a source root): stillhouse/v1/*_pb2*.py and .pyi.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
PATH="$(dirname "$python"):$PATH"
"$python" -m grpc_tools.protoc -I protos --python_out="$1" --mypy_out="$1" --grpc_python_out="$1" --mypy_grpc_out="$1" \
    protos/stillhouse/v1/*.proto
