"""Deletes blobs that nothing names. Called by `stillhouse gc`; it must not know what any object means.

Everything outside `blobs/` is a root: a manifest, an answer, a run's checkpoint, a runner's Distillation. A blob is
named where a root holds its 64 digits, in whatever field; what can't be understood still protects what it names. The
files of checkpoints are no roots: they are named by their own run's checkpoint alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stillhouse.artifacts.checkpoints import is_checkpoint_file, unnamed_files
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_BLOBS = "blobs/sha256/"


@dataclass(frozen=True)
class Collected:
    """What was deleted, or would be. Files of checkpoints count as blobs."""

    blobs: int
    bytes: int


def collect(store: Store, *, older_than_seconds: float = 86400, dry_run: bool = False) -> Collected:
    """Deletes the blobs older than `older_than_seconds` that no manifest, answer, run object or Distillation names,
    and the files of checkpoints that no checkpoint names.

    The age protects what a running stage has written and not yet named: below a day, collect only while nothing runs.
    What killed writers left half-written goes too, uncounted. Raises InvalidArgument for a negative age, and what the
    store raises.
    """
    if older_than_seconds < 0:
        raise InvalidArgument(f"blobs can't be {older_than_seconds} seconds old", field="older_than_seconds")
    before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    old = _older(store, "blobs", before)
    old_files = {path: size for path, size in _older(store, "runs", before).items() if is_checkpoint_file(path)}
    # Roots are read after the blobs are listed: a manifest that is written meanwhile names blobs that were put, and so
    # refreshed, after `before`.
    if old:
        for sha256 in named_digests(store):
            old.pop(_BLOBS + sha256, None)
    old |= unnamed_files(store, old_files)
    if not dry_run:
        for path in old:
            store.objects.delete(path)
        for abandoned in store.objects.abandoned(before):
            abandoned.unlink(missing_ok=True)
    return Collected(blobs=len(old), bytes=sum(old.values()))


def _older(store: Store, folder: str, before: datetime) -> dict[str, int]:
    """Paths and bytes of the objects there that were written before."""
    return {entry.path: entry.size_bytes for entry in store.objects.entries(folder) if entry.modified <= before}


def digests_in(data: bytes) -> set[str]:
    """The SHA-256 digests that a root's bytes name."""
    return {match.decode() for match in _DIGEST.findall(data)}


def named_digests(store: Store) -> set[str]:
    """Of everything that any root of the store names."""
    named: set[str] = set()
    for entry in store.objects.entries(""):
        if not entry.path.startswith("blobs/") and not is_checkpoint_file(entry.path):
            named |= digests_in(store.objects.read(entry.path) or b"")
    return named
