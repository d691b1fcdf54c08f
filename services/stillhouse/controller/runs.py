"""The record of a run in the store: distillations/<name>/status.json. Written by the runner, read by the CLI."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stillhouse.artifacts.store import Store
from stillhouse.controller.plan import Plan, StepState
from stillhouse.errors import FailedPrecondition, NotFound, Unavailable
from stillhouse.spec.models import Distillation
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.exporter_pb2 import ExportResult

_ORPHAN_SECONDS = 30.0


@dataclass(frozen=True)
class Run:
    """A Distillation and where its steps stand, as last written."""

    name: str
    store_uri: str
    distillation: dict[str, Any]
    steps: list[dict[str, str]]
    outcome: str
    updated: str


def status_path(name: str) -> str:
    """Where a run's record lies in the store."""
    return f"distillations/{name}/status.json"


def write_run(store: Store, distillation: Distillation, plan: Plan) -> None:
    """Writes the record of a run, whole."""
    record = {
        "distillation": distillation.model_dump(mode="json", by_alias=True, exclude_none=True),
        "steps": [
            {
                "name": step.name,
                "stage": step.stage,
                "key": step.key,
                "state": step.state.value,
                "message": step.message,
            }
            for step in plan.steps
        ],
        "outcome": plan.outcome.value if plan.outcome else "",
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    data = json.dumps(record, ensure_ascii=False, indent=1).encode()
    store.put_object(status_path(distillation.metadata.name), data)


def find_run(store: Store, name: str) -> Run:
    """The run of that name. Raises NotFound that lists the runs of the store."""
    data = store.read_object(status_path(name))
    if data is None:
        known = ", ".join(list_runs(store)) or "none"
        raise NotFound(f"no run {name!r} in {store.uri}; runs there: {known}")
    record = json.loads(data)
    return Run(name, store.uri, record["distillation"], record["steps"], record["outcome"], record["updated"])


def list_runs(store: Store) -> list[str]:
    """Names of all runs of a store, sorted."""
    return sorted({path.split("/")[1] for path in store.list_objects("distillations/") if path.count("/") > 1})


def manifest_of(store: Store, run: Run, step_name: str) -> Manifest:
    """The manifest of a run's step. Raises FailedPrecondition if the step is not done."""
    for step in run.steps:
        if step["name"] == step_name and step["key"]:
            manifest = store.read_manifest(step["stage"], step["key"])
            if manifest is not None:
                return manifest
    raise FailedPrecondition(f"run {run.name} has no finished step {step_name!r} yet; `stillhouse status {run.name}`")


def model_of(store: Store, run: Run) -> Artifact:
    """The student's GGUF. Raises FailedPrecondition if it is not exported yet."""
    result = ExportResult()
    manifest_of(store, run, "export").result.Unpack(result)
    return result.model


def run_directory(store_uri: str, name: str) -> Path:
    """This machine's folder for a run's requests, logs and lock.

    Below $STILLHOUSE_RUNS, by default `runs` in $STILLHOUSE_CACHE (~/.cache/stillhouse).
    """
    cache = Path(os.environ.get("STILLHOUSE_CACHE") or Path.home() / ".cache" / "stillhouse")
    runs = Path(os.environ.get("STILLHOUSE_RUNS") or cache / "runs")
    return runs / f"{name}-{hashlib.sha256(store_uri.encode()).hexdigest()[:8]}"


@contextmanager
def exclusive(directory: Path) -> Iterator[int]:
    """Holds the run's lock; yields its file descriptor, which stages inherit.

    So the lock is free only when the last stage of an earlier, killed runner is gone as well; that is waited for.
    Raises Unavailable if another runner holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while not _try_lock(descriptor):
            holder = os.pread(descriptor, 32, 0).decode().strip()
            if holder and Path(f"/proc/{holder}").exists():
                raise Unavailable(
                    f"this run is under way already, as process {holder}; stop it, or follow it with status"
                )
            if time.monotonic() > deadline:
                raise Unavailable(f"stages of an earlier runner do not stop; see {directory / 'run.log'}")
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def runner_pid(directory: Path) -> int | None:
    """Process that runs it now on this machine, or None."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(descriptor):
            return None
        holder = os.pread(descriptor, 32, 0).decode().strip()
        return int(holder) if holder.isdigit() else None
    finally:
        os.close(descriptor)


def is_done(step: dict[str, str]) -> bool:
    """True for a step whose manifest exists."""
    return step["state"] == StepState.DONE.value
