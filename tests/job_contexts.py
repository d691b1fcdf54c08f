"""Job contexts as the runner of a stage makes them, for tests that call a stage's work directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stillhouse.artifacts.store import Store
from stillhouse.rpc.operation import JobContext
from stillhouse.v1.common_pb2 import Progress


def job_context(
    store: Store, workspace: Path, *, key: str = "0" * 64, on_progress: Callable[[Progress], None] | None = None
) -> JobContext:
    """A context over an empty `workspace`."""
    return JobContext(store=store, key=key, workspace=workspace, on_progress=on_progress)
