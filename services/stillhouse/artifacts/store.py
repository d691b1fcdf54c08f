"""The object store: blobs by digest, manifests that commit, and small named objects.

Called by every stage, the plan and the tools. It must not know what the bytes mean, nor any service or role.

    blobs/sha256/<hex>                     bytes, written once
    stages/<stage>/<key>/manifest.json     written last and only if absent: its stage is done
    answers/<first2>/<digest>.json         what a model answered; see stillhouse.artifacts.answers
    runs/<key>/...                         progress and checkpoints; see stillhouse.artifacts.checkpoints
    distillations/<name>/...               what a runner keeps of its run
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stillhouse.artifacts.blobs import DEFAULT_LIMIT_BYTES, Blobs
from stillhouse.artifacts.messages import message_json, parse_json
from stillhouse.artifacts.objects import Objects
from stillhouse.errors import DataLoss, InvalidArgument, NotFound
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet, Manifest

DEFAULT_MEDIA_TYPE = "application/octet-stream"
JSONL_MEDIA_TYPE = "application/jsonl"


class Store:
    """One object store. Safe to share between threads.

    Every method raises NotFound (no such thing), PermissionDenied (refused or read-only), ResourceExhausted (disk
    full), DataLoss (bytes are not what their digest says) or Unavailable (can't be reached).
    """

    def __init__(self, objects: Objects) -> None:
        """See `open`."""
        self._objects = objects
        self._blobs = Blobs(objects)
        self.uri = objects.uri

    @classmethod
    def open(cls, uri: str) -> Store:
        """The store at `uri`: a directory (made on the first write), file://, memory://name, s3://, gs:// or az://.

        Options and credentials are the environment's (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...). memory:// is one
        store per name and process. Raises InvalidArgument; nothing is contacted yet.
        """
        return cls(Objects(uri))

    def put_file(
        self, path: Path, *, name: str, media_type: str = DEFAULT_MEDIA_TYPE, producer_key: str = ""
    ) -> Artifact:
        """Streams the file into the store, unless it is there. Raises FailedPrecondition if it changes meanwhile."""
        sha256, size = self._blobs.put_file(path)
        return _artifact(sha256, size, name, media_type, producer_key)

    def put_bytes(
        self, data: bytes, *, name: str, media_type: str = DEFAULT_MEDIA_TYPE, producer_key: str = ""
    ) -> Artifact:
        """Puts `data` into the store, unless it is there."""
        return _artifact(self._blobs.put_bytes(data), len(data), name, media_type, producer_key)

    def put_directory(self, directory: Path, *, producer_key: str = "") -> ArtifactSet:
        """Puts every file below `directory`, named by its path in it; links are followed, empty directories lost."""
        if not directory.is_dir():
            raise NotFound(f"{directory} is no directory")
        names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
        return ArtifactSet(
            files=[self.put_file(directory / name, name=name, producer_key=producer_key) for name in names]
        )

    def has_blob(self, sha256: str) -> bool:
        """True if bytes of that digest are stored; they are verified when they are read."""
        return self._blobs.size(sha256) is not None

    def read_bytes(self, artifact: Artifact, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> bytes:
        """The verified bytes. Raises FailedPrecondition above `limit_bytes`: fetch what may be large."""
        return self._blobs.read_bytes(artifact, limit_bytes=limit_bytes)

    def open_lines(self, artifact: Artifact) -> Iterator[str]:
        """The lines without their line feed, as UTF-8. The whole blob is verified before the first line is given.

        Raises InvalidArgument naming artifact and line where a line is no UTF-8.
        """
        return self._blobs.open_lines(artifact)

    def fetch(self, artifact: Artifact, path: Path) -> Path:
        """Writes the verified bytes to `path`, which appears whole or not at all. Returns `path`."""
        return self._blobs.fetch(artifact, path)

    def fetch_set(self, files: ArtifactSet, directory: Path) -> Path:
        """Writes every file below `directory`. Raises InvalidArgument for a name that is taken twice or leaves it."""
        seen: set[str] = set()
        for artifact in files.files:
            _check_relative(artifact.name)
            if artifact.name in seen:
                raise InvalidArgument(f"an artifact set names {artifact.name!r} twice")
            seen.add(artifact.name)
        directory.mkdir(parents=True, exist_ok=True)
        for artifact in files.files:
            self.fetch(artifact, directory / artifact.name)
        return directory

    def read_manifest(self, stage: str, key: str) -> Manifest | None:
        """What that stage made of that request; None if it is not done. Raises DataLoss if the manifest is broken."""
        path = manifest_path(stage, key)
        data = self._objects.read(path)
        return None if data is None else self._parse_manifest(path, data)

    def commit_manifest(self, manifest: Manifest) -> Manifest:
        """Commits, or finds that another was faster: returns the manifest that counts from now on."""
        path = manifest_path(manifest.stage, manifest.key)
        if self._objects.create(path, message_json(manifest).encode()):
            return manifest
        winner = self.read_manifest(manifest.stage, manifest.key)
        if winner is None:
            raise DataLoss(f"{self.uri}/{path} was deleted while it was being committed; run again")
        return winner

    def manifests(self) -> Iterator[Manifest]:
        """Every manifest, by stage and key."""
        for path in self._objects.list_paths("stages"):
            if path.endswith("/manifest.json"):
                data = self._objects.read(path)
                if data is not None:
                    yield self._parse_manifest(path, data)

    def put_object(self, path: str, data: bytes) -> None:
        """Writes a small named object whole, over what is there."""
        self._objects.write(_object_path(path), data)

    def put_object_if_absent(self, path: str, data: bytes) -> bool:
        """Writes a small named object unless there is one. True if this call wrote it."""
        return self._objects.create(_object_path(path), data)

    def read_object(self, path: str) -> bytes | None:
        """The object's bytes; None if there is none."""
        return self._objects.read(_object_path(path))

    def list_objects(self, prefix: str) -> Iterator[str]:
        """Paths of the objects below the folder `prefix`, sorted."""
        return iter(self._objects.list_paths(prefix.strip("/")))

    def delete_object(self, path: str) -> None:
        """Deletes a named object; none is fine."""
        self._objects.delete(_object_path(path))

    @property
    def objects(self) -> Objects:
        """The paths and bytes below; for the collector."""
        return self._objects

    def _parse_manifest(self, path: str, data: bytes) -> Manifest:
        place = f"{self.uri}/{path}"
        try:
            manifest = parse_json(data, Manifest(), source=place)
        except InvalidArgument as exc:
            raise DataLoss(f"{exc.message}; delete it to have its stage run again") from exc
        if path != manifest_path(manifest.stage, manifest.key):
            raise DataLoss(f"{place} is the manifest of {manifest.stage}/{manifest.key}; delete it")
        return manifest


def manifest_path(stage: str, key: str) -> str:
    """Where a stage's manifest lies in its store."""
    _check_relative(stage)
    _check_relative(key)
    return f"stages/{stage}/{key}/manifest.json"


def _artifact(sha256: str, size: int, name: str, media_type: str, producer_key: str) -> Artifact:
    _check_relative(name)
    return Artifact(name=name, sha256=sha256, size_bytes=size, media_type=media_type, producer_key=producer_key)


def _check_relative(name: str) -> None:
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
        raise InvalidArgument(
            f"{name!r} is no name inside a directory: use forward slashes, no leading one and no '..'"
        )


def _object_path(path: str) -> str:
    _check_relative(path)
    if path.startswith("blobs/"):
        raise InvalidArgument(f"{path}: blobs are written by their bytes, not by name")
    return path
