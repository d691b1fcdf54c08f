"""The evaluate stage as a Job in a process of its own, and what it left behind, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage

from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.evaluator.__main__ import operation
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult


def start_job(request: EvaluateRequest, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    packed = AnyMessage()
    packed.Pack(request)
    file = folder / "request.json"
    file.write_text(json_format.MessageToJson(packed))
    return subprocess.Popen(
        [sys.executable, "-m", "stillhouse.evaluator", "run", "--request", str(file)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "STILLHOUSE_TERMINATION_LOG": str(folder / "status.json"), **environment},
    )


def finish(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=120)
    return process.returncode


def result_of(store: Store, request: EvaluateRequest) -> EvaluateResult:
    manifest = store.read_manifest("evaluate", request_key("evaluate", operation().logic_version, request))
    assert manifest is not None
    result = EvaluateResult()
    manifest.result.Unpack(result)
    return result


def status_message(folder: Path) -> str:
    return str(json.loads((folder / "status.json").read_text())["message"])
