"""What a Job is made of: the operation that a service offers, and the context that its work is done in.

Written by the services, run by `stillhouse.rpc.execution`. It must not know any particular request, nor the network.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from google.protobuf.message import Message

from stillhouse.artifacts.checkpoints import checkpoint_path
from stillhouse.artifacts.messages import message_json, parse_json
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, DataLoss, InvalidArgument, TemporaryError
from stillhouse.v1.common_pb2 import Progress

RequestT = TypeVar("RequestT", bound=Message)
ResultT = TypeVar("ResultT", bound=Message)

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

PROGRESS_SECONDS = 5.0
ELAPSED_FIGURE = "elapsed_seconds"


class JobContext:
    """What the work of one request is given: its store, its scratch folder, the wish to stop, and ears for progress."""

    def __init__(
        self,
        store: Store,
        key: str,
        workspace: Path,
        *,
        stopping: threading.Event | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        stage: str = "",
    ) -> None:
        """`workspace` is an own, empty folder that is deleted afterwards; `stopping` asks the work to save and leave.

        `on_progress` hears every report, on the caller's thread.
        """
        self.store = store
        self.key = key
        self.workspace = workspace
        self.stopping = stopping if stopping is not None else threading.Event()
        self._on_progress = on_progress
        self._stage = stage
        self._log = structlog.get_logger("stillhouse.job").bind(key=key)
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._is_pending = False
        self._written_at: float | None = None
        self._started_at = time.monotonic()
        self._earlier_seconds: float | None = None

    def report(self, progress: Progress) -> None:
        """Keeps `progress` as runs/<key>/progress.json, at most every 5 s; the last is kept in any case."""
        with self._lock:
            self._latest = Progress()
            self._latest.CopyFrom(progress)
            self._latest.stage = self._latest.stage or self._stage
            self._latest.figures[ELAPSED_FIGURE] = self._elapsed_seconds()
            self._is_pending = True
            latest = self._latest
            is_due = self._written_at is None or time.monotonic() - self._written_at >= PROGRESS_SECONDS
        if self._on_progress is not None:
            self._on_progress(latest)
        if is_due:
            self.flush_progress()

    def flush_progress(self) -> None:
        """Writes the last report if it is not written yet. The runner calls it at the end."""
        with self._lock:
            if self._latest is None or not self._is_pending:
                return
            self._is_pending = False
            self._written_at = time.monotonic()
            latest = self._latest
        try:
            self.store.put_object(progress_path(self.key), message_json(latest).encode())
        except TemporaryError as exc:
            # Hours of work do not depend on being watched; what does depend on the store will say so itself.
            self._log.warning("progress not kept", error=exc.message)
        self._log.info(
            "progress",
            stage=latest.stage,
            message=latest.message,
            done=latest.done,
            total=latest.total,
            unit=latest.unit,
            eta_seconds=round(latest.eta_seconds),
            figures={name: round(value, 6) for name, value in sorted(latest.figures.items())},
        )

    def elapsed_seconds(self) -> float:
        """Wall seconds of work on this key, over all attempts as far as their progress was kept."""
        with self._lock:
            return self._elapsed_seconds()

    def raise_if_stopping(self) -> None:
        """Raises Cancelled if the work was asked to stop. Call it where everything that counts is saved."""
        if self.stopping.is_set():
            raise Cancelled("stopped on request; the same request resumes from its last checkpoint")

    def read_checkpoint(self) -> dict[str, Any] | None:
        """What `write_checkpoint` kept last, by this or an earlier attempt. Raises DataLoss if it is broken."""
        path = checkpoint_path(self.key)
        data = self.store.read_object(path)
        if data is None:
            return None
        try:
            state = json.loads(data)
        except ValueError as exc:
            raise DataLoss(f"{self.store.uri}/{path} is no JSON ({exc}); delete it to start afresh") from exc
        if not isinstance(state, dict):
            raise DataLoss(f"{self.store.uri}/{path} is no JSON object; delete it to start afresh")
        return state

    def write_checkpoint(self, state: Mapping[str, Json]) -> None:
        """Keeps `state` as JSON at runs/<key>/checkpoint.json; blobs whose digests it holds are spared by `gc`.

        Put the blobs first: what is named here must exist. Raises InvalidArgument for a NaN or an infinity.
        """
        try:
            text = json.dumps(state, sort_keys=True, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise InvalidArgument(f"a checkpoint of {self._stage or self.key} is no JSON: {exc}") from exc
        self.store.put_object(checkpoint_path(self.key), text.encode())

    def _elapsed_seconds(self) -> float:
        if self._earlier_seconds is None:
            self._earlier_seconds = _elapsed_before(self.store, self.key)
        return self._earlier_seconds + time.monotonic() - self._started_at


@dataclass(frozen=True)
class Operation(Generic[RequestT, ResultT]):
    """One thing that a service does to completion: the same by `run --request` and over the network."""

    stage: str
    """Stage name: it is in the key and in the manifest's path."""
    logic_version: int
    """Raise it when the same request makes something else."""
    request_type: type[RequestT]
    run: Callable[[JobContext, RequestT], ResultT]
    """Does the work and returns its result; everything that the result names is in the store by then."""
    module: str
    """What `python -m` runs for it, such as stillhouse.trainer."""


def progress_path(key: str) -> str:
    """Where a Job's progress lies in its store, as JSON of stillhouse.v1.Progress."""
    return f"runs/{key}/progress.json"


def read_progress(store: Store, key: str) -> Progress | None:
    """How far that Job has come; None if it never reported. A broken report reads as none: no work depends on it."""
    data = store.read_object(progress_path(key))
    if data is None:
        return None
    try:
        return parse_json(data, Progress(), source=progress_path(key))
    except InvalidArgument:
        return None


def _elapsed_before(store: Store, key: str) -> float:
    try:
        progress = read_progress(store, key)
    except TemporaryError:
        return 0.0
    return progress.figures.get(ELAPSED_FIGURE, 0.0) if progress is not None else 0.0
