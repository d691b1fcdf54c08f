"""The files of a run's checkpoints: verified by digest on every read, and gone with their run.

Called by stages that save their work, by the Job runner and by the collector. It must not know what a file holds.

    runs/<key>/checkpoint.json                the checkpoint that counts; holds the id of its files
    runs/<key>/checkpoint/<id>-<sha256>       its files

Every checkpoint has an id of its own and shares no file with another, not even one of equal bytes. So an id enters
checkpoint.json once, and when that object has been written again its files can be deleted, whoever wrote it again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from stillhouse.artifacts.blobs import DEFAULT_LIMIT_BYTES, Blobs
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact

_ID_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(rf"(?P<folder>runs/[^/]+/checkpoint)/(?P<id>{_ID.pattern})-[0-9a-f]{{64}}")


class CheckpointFiles:
    """The files of one checkpoint. Errors as those of `Store`."""

    def __init__(self, store: Store, key: str, identity: str = "") -> None:
        """Those of the run `key` with that id; of a new checkpoint without one. Raises InvalidArgument for no id."""
        self.identity = identity or secrets.token_hex(_ID_BYTES)
        if not _ID.fullmatch(self.identity):
            raise InvalidArgument(f"{self.identity!r} is no id of a checkpoint's files: 32 hexadecimal digits")
        self._store = store
        self._prefix = f"{_folder(key)}/{self.identity}-"
        remedy = f"delete {checkpoint_path(key)} to start that run afresh"
        self._blobs = Blobs(store.objects, prefix=self._prefix, remedy=remedy)

    def put_file(self, path: Path, *, name: str) -> Artifact:
        """Streams the file into the store."""
        sha256, size = self._blobs.put_file(path)
        return Artifact(name=name, sha256=sha256, size_bytes=size)

    def put_bytes(self, data: bytes, *, name: str) -> Artifact:
        """Puts `data` into the store."""
        return Artifact(name=name, sha256=self._blobs.put_bytes(data), size_bytes=len(data))

    def fetch(self, artifact: Artifact, path: Path) -> Path:
        """Writes the verified bytes to `path`, which appears whole or not at all. Returns `path`."""
        return self._blobs.fetch(artifact, path)

    def read_bytes(self, artifact: Artifact) -> bytes:
        """The verified bytes. Raises FailedPrecondition above 64 MiB: fetch what may be large."""
        return self._blobs.read_bytes(artifact, limit_bytes=DEFAULT_LIMIT_BYTES)

    def delete(self, artifacts: Iterable[Artifact]) -> None:
        """Deletes these files of this checkpoint. Only once checkpoint.json names another checkpoint."""
        for sha256 in {artifact.sha256 for artifact in artifacts}:
            self._store.objects.delete(self._prefix + sha256)


def checkpoint_path(key: str) -> str:
    """Where a run's checkpoint lies in its store, as JSON."""
    return f"{_folder(key)}.json"


def delete_checkpoint(store: Store, key: str) -> None:
    """Deletes a run's checkpoint, then the files of all that it ever had; for a run that is done."""
    store.delete_object(checkpoint_path(key))
    for path in store.list_objects(_folder(key)):
        store.delete_object(path)


def is_checkpoint_file(path: str) -> bool:
    """True for what only a checkpoint names."""
    return _FILE.fullmatch(path) is not None


def unnamed_files(store: Store, sizes: Mapping[str, int]) -> dict[str, int]:
    """Of the checkpoint files with these paths, those whose run's checkpoint.json holds another id or is gone."""
    checkpoints: dict[str, bytes] = {}
    unnamed: dict[str, int] = {}
    for path, size in sizes.items():
        found = _FILE.fullmatch(path)
        if found is None:
            continue
        folder = found["folder"]
        if folder not in checkpoints:
            checkpoints[folder] = store.objects.read(f"{folder}.json") or b""
        if found["id"].encode() not in checkpoints[folder]:
            unnamed[path] = size
    return unnamed


def _folder(key: str) -> str:
    return f"runs/{key}/checkpoint"
