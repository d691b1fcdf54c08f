"""Deletes what some stages made, as far as nothing else names it. For a Distillation that takes its artifacts along.

Answers stay: they were paid for, and another data set may want them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from stillhouse.artifacts.collect import Collected, digests_in, named_digests
from stillhouse.artifacts.store import Store, manifest_path

_BLOBS = "blobs/sha256/"
_YOUNG_SECONDS = 600.0


def discard(
    store: Store,
    stages: Collection[tuple[str, str]],
    folders: Collection[str],
    *,
    older_than_seconds: float = _YOUNG_SECONDS,
) -> Collected:
    """Deletes the manifests of those stages (name, key), all objects in `folders`, and the blobs that only they named.

    Blobs that were put within `older_than_seconds` stay for the collector: a stage that runs now may be about to name
    them.

    Asked again after it was interrupted, it does the rest, but for blobs of manifests that are gone already: the
    collector finds those. Raises what the store raises.
    """
    paths = [manifest_path(stage, key) for stage, key in stages]
    paths += [path for _, key in stages for path in store.objects.list_paths(f"runs/{key}")]
    paths += [path for folder in folders for path in store.objects.list_paths(folder)]
    orphans: set[str] = set()
    for path in paths:
        orphans |= digests_in(store.objects.read(path) or b"")
        store.objects.delete(path)
    orphans -= named_digests(store) if orphans else set()
    before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    size = deleted = 0
    for sha256 in orphans:
        entry = store.objects.entry(_BLOBS + sha256)
        if entry is not None and entry.modified <= before:
            size, deleted = size + entry.size_bytes, deleted + 1
            store.objects.delete(entry.path)
    return Collected(blobs=deleted, bytes=size)
