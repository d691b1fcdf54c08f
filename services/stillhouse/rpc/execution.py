"""Runs one operation to its manifest: key, existing result, work, commit.

Called by `stillhouse.rpc.job`. It must not know signals, request files or gRPC.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from stillhouse.artifacts.checkpoints import delete_checkpoint
from stillhouse.artifacts.digests import request_key, without_execution_fields
from stillhouse.artifacts.references import artifacts_in
from stillhouse.artifacts.store import Store
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.v1.artifact_pb2 import Manifest


def execute(operation: Operation[Any, Any], request: Message, *, stopping: threading.Event | None = None) -> Manifest:
    """Does what `request` asks, unless it is done, and returns its manifest.

    Raises what the operation and the store raise, and FailedPrecondition where there is no room for scratch files.
    """
    store = open_request_store(request)
    key = request_key(operation.stage, operation.logic_version, request)
    log = structlog.get_logger("stillhouse.job").bind(stage=operation.stage, key=key)
    done = store.read_manifest(operation.stage, key)
    if done is not None:
        log.info("done already", store=store.uri)
        return done
    with scratch_folder(operation.stage) as workspace:
        context = JobContext(store, key, workspace, stopping=stopping, stage=operation.stage)
        context.raise_if_stopping()
        log.info("started", store=store.uri)
        started_at = time.monotonic()
        try:
            result = operation.run(context, request)
        finally:
            context.flush_progress()
        manifest = _manifest(operation, request, result, key, context.elapsed_seconds())
    _check_stored(store, operation.stage, result)
    committed = store.commit_manifest(manifest)
    # What a checkpoint kept is no longer needed, and would keep its blobs from being collected.
    delete_checkpoint(store, key)
    log.info("done", seconds=round(time.monotonic() - started_at, 3))
    return committed


def open_request_store(request: Message) -> Store:
    """The store that a request names in its field `store_uri`. Raises InvalidArgument if it names none."""
    uri = getattr(request, "store_uri", "")
    if not uri:
        raise InvalidArgument(f"{request.DESCRIPTOR.name} names no store; set store_uri", field="store_uri")
    return Store.open(uri)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """An empty folder below the system's temporary directory, deleted with the block.

    Raises FailedPrecondition where that can't be written to, as in a container with a read-only root and no TMPDIR.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f"stillhouse-{name}-")
    except FileNotFoundError as exc:
        raise FailedPrecondition(f"no temporary directory: {exc.strerror}; set TMPDIR to a writable one") from exc
    with folder as path:
        yield Path(path)


def _manifest(operation: Operation[Any, Any], request: Message, result: Message, key: str, seconds: float) -> Manifest:
    now = Timestamp()
    now.GetCurrentTime()
    manifest = Manifest(
        stage=operation.stage,
        key=key,
        logic_version=operation.logic_version,
        create_time=now,
        stillhouse_version=importlib.metadata.version("stillhouse"),
        seconds=seconds,
    )
    manifest.request.Pack(without_execution_fields(request))
    manifest.result.Pack(result)
    return manifest


def _check_stored(store: Store, stage: str, result: Message) -> None:
    """A manifest is a promise that everything it names can be read; a stage that forgot an upload fails here."""
    for artifact in artifacts_in(result):
        if not store.has_blob(artifact.sha256):
            raise FailedPrecondition(
                f"stage {stage} names {artifact.name} (blob {artifact.sha256}), which is not in {store.uri}; run again"
            )
