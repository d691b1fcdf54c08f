"""A stage's Job as its runner starts it: the request in a file, the process, its final status beside the request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message


def start_job(module: str, request: Message, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Writes request.json and, when it ends, status.json into the folder."""
    packed = any_pb2.Any()
    packed.Pack(request)
    path = folder / "request.json"
    path.write_text(json_format.MessageToJson(packed))
    environ = {**os.environ, "STILLHOUSE_TERMINATION_LOG": str(folder / "status.json"), **environment}
    return subprocess.Popen([sys.executable, "-m", module, "run", "--request", str(path)], env=environ)
