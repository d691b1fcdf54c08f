"""Bytes by their SHA-256: written once, verified on every read. Called by the store and by checkpoints.

It must not know manifests, names or messages beyond the Artifact that says which bytes are meant.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from stillhouse.artifacts.backend import translated
from stillhouse.artifacts.digests import file_sha256
from stillhouse.artifacts.objects import Objects
from stillhouse.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from stillhouse.v1.artifact_pb2 import Artifact

DEFAULT_LIMIT_BYTES = 64 * 1024 * 1024

# Files up to this size are read once and written in one request.
_SMALL_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_SPOOL_BYTES = 16 * 1024 * 1024
# The collector spares blobs younger than a day. A blob that is put again is refreshed long before that, so that it
# can't be collected between being found here and being named by a manifest.
_REFRESH_AFTER = timedelta(hours=6)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIX = "blobs/sha256/"


class Blobs:
    """The blobs of one store."""

    def __init__(
        self,
        objects: Objects,
        *,
        prefix: str = _PREFIX,
        remedy: str = "delete the manifest that names it and run again",
    ) -> None:
        """`objects` is where they lie; a path is `prefix` and digest. `remedy` is for bytes that are not there."""
        self._objects = objects
        self._prefix = prefix
        self._remedy = remedy

    def put_bytes(self, data: bytes) -> str:
        """Stores `data` unless it is there; returns its digest."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self._is_fresh(sha256, len(data)):
            self._objects.write(self._path(sha256), data)
        return sha256

    def put_file(self, path: Path) -> tuple[str, int]:
        """Stores the file's bytes unless they are there; returns digest and size."""
        with _local(path, "read"), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _SMALL_BYTES:
                data = file.read()
                return self.put_bytes(data), len(data)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if not self._is_fresh(sha256, size):
                file.seek(0)
                self._objects.write_stream(self._path(sha256), _verified(_chunks_of(file), sha256, _changed(path)))
            return sha256, size

    def size(self, sha256: str) -> int | None:
        """Bytes stored under that digest; None if there is no such blob."""
        entry = self._objects.entry(self._path(sha256))
        return None if entry is None else entry.size_bytes

    def read_bytes(self, artifact: Artifact, *, limit_bytes: int) -> bytes:
        """The verified bytes, up to `limit_bytes`."""
        parts: list[bytes] = []
        total = 0
        for chunk in self._stream(artifact):
            total += len(chunk)
            if total > limit_bytes:
                raise FailedPrecondition(f"{_title(artifact)} is larger than {limit_bytes} bytes; fetch it to a file")
            parts.append(chunk)
        return b"".join(parts)

    def spool(self, artifact: Artifact) -> IO[bytes]:
        """The verified bytes in a temporary file, at its start; in memory while they are few."""
        file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
        try:
            with translated("the temporary directory (TMPDIR)", "write to"):
                for chunk in self._stream(artifact):
                    file.write(chunk)
                file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def open_lines(self, artifact: Artifact) -> Iterator[str]:
        """The verified blob's lines, without their line feed."""
        with self.spool(artifact) as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.removesuffix(b"\n").decode("utf-8")
                except UnicodeDecodeError as exc:
                    raise InvalidArgument(f"{artifact.name}, line {number}: not UTF-8 ({exc.reason})") from exc

    def fetch(self, artifact: Artifact, path: Path) -> Path:
        """Writes the verified bytes beside `path`, then renames; bytes that are there already are not fetched again."""
        with _local(path, "write to"):
            if path.is_file() and file_sha256(path) == artifact.sha256:
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
            part = Path(name)
        try:
            with _local(path, "write to"), os.fdopen(handle, "wb") as file:
                for chunk in self._stream(artifact):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                part.chmod(0o644)
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return path

    def _is_fresh(self, sha256: str, size: int) -> bool:
        entry = self._objects.entry(self._path(sha256))
        return entry is not None and entry.size_bytes == size and datetime.now(UTC) - entry.modified < _REFRESH_AFTER

    def _stream(self, artifact: Artifact) -> Iterator[bytes]:
        path = self._path(artifact.sha256)
        chunks = self._objects.stream(path, _CHUNK_BYTES)
        if chunks is None:
            raise NotFound(f"{_title(artifact)} is not in {self._objects.uri}; {self._remedy}")
        found = (
            f"{_title(artifact)} in {self._objects.uri} does not have the bytes that its name says; "
            f"delete {path}, then {self._remedy}"
        )
        yield from _verified(chunks, artifact.sha256, DataLoss(found))

    def _path(self, sha256: str) -> str:
        """Raises InvalidArgument for what is no lower-case hexadecimal SHA-256."""
        if not _SHA256.fullmatch(sha256):
            raise InvalidArgument(f"{sha256!r} is no SHA-256: 64 lower-case hexadecimal digits")
        return f"{self._prefix}{sha256}"


def _verified(chunks: Iterator[bytes], sha256: str, mismatch: Exception) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise mismatch


def _chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _changed(path: Path) -> FailedPrecondition:
    return FailedPrecondition(f"{path} changed while it was being stored; let its writer finish, then run again")


def _title(artifact: Artifact) -> str:
    return f"{artifact.name or 'artifact'} (blob {artifact.sha256})"


def _local(path: Path, action: str) -> AbstractContextManager[None]:
    return translated(str(path), action)
