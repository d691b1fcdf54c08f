"""Batch operations over the network: a call supervises `python -m ... run`, the same path as a Job, and streams it.

Called by the servicers of batch services. It must not know any particular operation.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.messages import unpack_any
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, TemporaryError, Unavailable
from stillhouse.rpc.execution import open_request_store, scratch_folder
from stillhouse.rpc.operation import Operation, read_progress
from stillhouse.rpc.status import error_of_status
from stillhouse.rpc.subprocesses import JobProcess, end_process, start_job
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
    with scratch_folder("call") as folder:
        # Its log is this server's.
        job = start_job(operation.module, request, name=operation.stage, directory=folder)
        try:
            while job.process.poll() is None:
                if ended.is_set():
                    raise Cancelled("the call was cancelled; the same request resumes")
                _wait(job, ended)
                # A store that is away for a moment is the Job's affair, which tries again; here it only hides progress.
                with contextlib.suppress(TemporaryError):
                    progress = read_progress(store, key)
                if progress is not None and progress != seen:
                    seen = progress
                    yield progress
            _raise_failure(operation, job)
        finally:
            end_process(job.process, STOP_SECONDS)


def _wait(job: JobProcess, ended: threading.Event) -> None:
    deadline = time.monotonic() + POLL_SECONDS
    while job.process.poll() is None and time.monotonic() < deadline:
        if ended.wait(0.05):
            return


def _raise_failure(operation: Operation[Any, Any], job: JobProcess) -> None:
    if job.process.returncode == 0:
        return
    status = job.status()
    if status is None:
        raise Unavailable(f"stage {operation.stage}: {job.exit_message()}")
    raise error_of_status(status, source=f"stage {operation.stage}")


def _committed(store: Store, operation: Operation[Any, Any], key: str) -> Manifest:
    manifest = store.read_manifest(operation.stage, key)
    if manifest is None:
        raise Unavailable(f"stage {operation.stage} ended well, but its manifest is not in {store.uri}; call again")
    return manifest
