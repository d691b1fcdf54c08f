"""Paths and bytes in one object store: read, write, write if absent, list, delete. For the store and the collector.

It must not know what a path means. A file store exists from its first write on; until then it reads as empty.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions

from stillhouse.artifacts.backend import normalise_uri, open_files, open_remote, translated

# What a conditional write answers where the object exists.
_TAKEN = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
# obstore writes a file as NAME#1 (or #2, ...) before it gets its name; it lists no such file.
_STAGED = re.compile(r"#\d+$")
_PART_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class ObjectEntry:
    """One stored object."""

    path: str
    size_bytes: int
    modified: datetime


class Objects:
    """The objects below one URI. Raises what `Store` documents; a missing object is None or False, not an error."""

    def __init__(self, uri: str) -> None:
        """Contacts nothing. Raises InvalidArgument for a URI that names no store."""
        self.uri = normalise_uri(uri)
        self.root = Path(self.uri.removeprefix("file://")) if self.uri.startswith("file://") else None
        self._remote: Any = open_remote(self.uri)
        self._writable = self._remote is not None
        self._lock = threading.Lock()

    def read(self, path: str) -> bytes | None:
        """All bytes of a small object."""
        remote = self._reader()
        if remote is None:
            return None
        try:
            with self._translated("read", path, passing=(FileNotFoundError,)):
                return bytes(obstore.get(remote, path).bytes())
        except FileNotFoundError:
            return None

    def stream(self, path: str, chunk_bytes: int = 1024 * 1024) -> Iterator[bytes] | None:
        """The bytes of an object in chunks."""
        remote = self._reader()
        if remote is None:
            return None
        try:
            with self._translated("read", path, passing=(FileNotFoundError,)):
                result = obstore.get(remote, path)
        except FileNotFoundError:
            return None
        return self._chunks(path, result, chunk_bytes)

    def entry(self, path: str) -> ObjectEntry | None:
        """Size and time of an object."""
        remote = self._reader()
        if remote is None:
            return None
        try:
            with self._translated("look at", path, passing=(FileNotFoundError,)):
                return _entry(obstore.head(remote, path))
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Writes an object whole: a reader sees the old bytes or the new ones."""
        with self._writing(path) as remote:
            obstore.put(remote, path, data, use_multipart=False)

    def write_stream(self, path: str, chunks: Iterator[bytes]) -> None:
        """Writes an object from chunks; it appears when the last is written, and not at all if `chunks` raises."""
        with self._writing(path) as remote:
            obstore.put(remote, path, chunks, chunk_size=_PART_BYTES, max_concurrency=4)

    def create(self, path: str, data: bytes) -> bool:
        """Writes an object unless there is one. True if this call wrote it; of any number of racing calls one does."""
        try:
            with self._writing(path) as remote:
                obstore.put(remote, path, data, mode="create", use_multipart=False)
        except _TAKEN:
            return False
        return True

    def delete(self, path: str) -> None:
        """Deletes an object; none is fine."""
        remote = self._reader()
        if remote is None:
            return
        try:
            with self._translated("delete", path, passing=(FileNotFoundError,)):
                obstore.delete(remote, path)
        except FileNotFoundError:
            return

    def entries(self, folder: str) -> Iterator[ObjectEntry]:
        """Every object below `folder` ("" for all), in no order."""
        remote = self._reader()
        if remote is None:
            return
        with self._translated("list", folder or "all objects"):
            pages = obstore.list(remote, folder or None)
        while True:
            with self._translated("list", folder or "all objects"):
                page = next(pages, None)
            if page is None:
                return
            for meta in page:
                yield _entry(meta)

    def list_paths(self, folder: str) -> list[str]:
        """Paths of every object below `folder`, sorted."""
        return sorted(entry.path for entry in self.entries(folder))

    def abandoned(self, before: datetime) -> Iterator[Path]:
        """Files of writers that were killed before their object had its name; in file stores only.

        Elsewhere they are unfinished uploads, which a lifecycle rule of the bucket removes.
        """
        if self.root is None or not self.root.is_dir():
            return
        for path in self.root.rglob("*#*"):
            if _STAGED.search(path.name) and path.is_file() and path.stat().st_mtime <= before.timestamp():
                yield path

    def _reader(self) -> Any:
        if self._remote is None and self.root is not None:
            with self._lock:
                if self._remote is None:
                    self._remote = open_files(self.root, write=False)
        return self._remote

    def _writer(self) -> Any:
        if not self._writable and self.root is not None:
            with self._lock:
                if not self._writable:
                    self._remote = open_files(self.root, write=True)
                    self._writable = True
        return self._remote

    @contextmanager
    def _writing(self, path: str) -> Iterator[Any]:
        remote = self._writer()
        with self._translated("write", path, passing=_TAKEN):
            yield remote

    def _translated(
        self, action: str, path: str, *, passing: tuple[type[Exception], ...] = ()
    ) -> AbstractContextManager[None]:
        return translated(f"{self.uri}/{path}", action, passing=passing)

    def _chunks(self, path: str, result: Any, chunk_bytes: int) -> Iterator[bytes]:
        with self._translated("read", path):
            for chunk in result.stream(min_chunk_size=chunk_bytes):
                yield bytes(chunk)


def _entry(meta: Any) -> ObjectEntry:
    return ObjectEntry(path=meta["path"], size_bytes=meta["size"], modified=meta["last_modified"])
