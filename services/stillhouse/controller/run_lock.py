"""A run's folder on this machine, and the lock that one runner at a time holds there. Called by the command line."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillhouse.cache import cache_directory
from stillhouse.errors import PermissionDenied, ResourceExhausted, Unavailable

_ORPHAN_SECONDS = 30.0


def run_directory(store_uri: str, name: str) -> Path:
    """This machine's folder for a run's requests, logs and lock.

    Below $STILLHOUSE_RUNS, by default `runs` in $STILLHOUSE_CACHE (~/.cache/stillhouse).
    """
    runs = Path(os.environ.get("STILLHOUSE_RUNS") or cache_directory(os.environ) / "runs")
    return runs / f"{name}-{hashlib.sha256(store_uri.encode()).hexdigest()[:8]}"


@contextmanager
def exclusive(directory: Path) -> Iterator[int]:
    """Makes the folder and holds the run's lock; yields its file descriptor, which stages inherit.

    So the lock is free only when the last stage of an earlier, killed runner is gone as well; that is waited for.
    Raises Unavailable if another runner holds it, PermissionDenied or ResourceExhausted where there can be no folder.
    """
    descriptor = _opened_lock(directory)
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


def _opened_lock(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        kind = ResourceExhausted if exc.errno in (errno.ENOSPC, errno.EDQUOT) else PermissionDenied
        raise kind(
            f"{directory} can't be written: {exc.strerror}; set STILLHOUSE_RUNS to a folder for logs and locks that can"
        ) from exc


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
