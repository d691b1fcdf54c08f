"""Batch operations over the network: a call supervises `python -m ... run`, the same path as a Job, and streams it.

Called by the servicers of batch services. It must not know any particular operation.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.messages import message_json, unpack_any
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, TemporaryError, Unavailable
from stillhouse.rpc.execution import open_request_store
from stillhouse.rpc.job import TERMINATION_LOG_VARIABLE
from stillhouse.rpc.operation import Operation, read_progress
from stillhouse.rpc.process import WATCH_STDIN_VARIABLE
from stillhouse.rpc.status import error_of_status
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import Progress

ResponseT = TypeVar("ResponseT", bound=Message)

POLL_SECONDS = 1.0
STOP_SECONDS = 20.0


def stream_operation(
    operation: Operation[Any, Any], request: Message, context: grpc.ServicerContext, response_type: type[ResponseT]
) -> Iterator[ResponseT]:
    """Progress as it is kept, then one last response with the result. `response_type` has both in one oneof.

    The work is a subprocess that ends with this call: a client that cancels, or whose deadline passes, has it told to
    save and stop. Raises the subprocess's own error, and Cancelled.
    """
    store = open_request_store(request)
    key = request_key(operation.stage, operation.logic_version, request)
    manifest = store.read_manifest(operation.stage, key)
    if manifest is None:
        for progress in _supervise(operation, request, context, store, key):
            yield response_type(progress=progress)
        manifest = _committed(store, operation, key)
    yield response_type(result=unpack_any(manifest.result))


def _supervise(
    operation: Operation[Any, Any], request: Message, context: grpc.ServicerContext, store: Store, key: str
) -> Iterator[Progress]:
    ended = threading.Event()
    if not context.add_callback(ended.set):
        raise Cancelled("the caller has gone")
    progress = seen = read_progress(store, key)
    with tempfile.TemporaryDirectory(prefix="stillhouse-call-") as folder:
        process = _start(operation, request, Path(folder))
        try:
            while process.poll() is None:
                if ended.is_set():
                    raise Cancelled("the call was cancelled; the same request resumes")
                _wait(process, ended)
                # A store that is away for a moment is the Job's affair, which tries again; here it only hides progress.
                with contextlib.suppress(TemporaryError):
                    progress = read_progress(store, key)
                if progress is not None and progress != seen:
                    seen = progress
                    yield progress
            _raise_failure(operation, process.returncode, Path(folder) / "status.json")
        finally:
            _stop(process)


def _start(operation: Operation[Any, Any], request: Message, folder: Path) -> subprocess.Popen[bytes]:
    packed = any_pb2.Any()
    packed.Pack(request)
    file = folder / "request.json"
    file.touch(mode=0o600)
    file.write_text(message_json(packed), encoding="utf-8")
    environ = {
        **os.environ,
        WATCH_STDIN_VARIABLE: "1",
        TERMINATION_LOG_VARIABLE: str(folder / "status.json"),
    }
    command = [sys.executable, "-m", operation.program(), "run", "--request", str(file)]
    return subprocess.Popen(command, env=environ, stdin=subprocess.PIPE)


def _wait(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    deadline = time.monotonic() + POLL_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if ended.wait(0.05):
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tells the Job to save and stop, by SIGTERM and by the end of its input; kills it if it does not."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _raise_failure(operation: Operation[Any, Any], code: int, path: Path) -> None:
    if code == 0:
        return
    source = f"stage {operation.stage}"
    try:
        status = json_format.Parse(path.read_bytes(), Status())
    except (OSError, json_format.ParseError):
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        raise Unavailable(f"{source} ended {how} without a word; its log is this server's") from None
    raise error_of_status(status, source=source)


def _committed(store: Store, operation: Operation[Any, Any], key: str) -> Manifest:
    manifest = store.read_manifest(operation.stage, key)
    if manifest is None:
        raise Unavailable(f"stage {operation.stage} ended well, but its manifest is not in {store.uri}; call again")
    return manifest
