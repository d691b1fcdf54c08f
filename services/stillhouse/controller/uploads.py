"""Puts what a spec names on this machine into the store, where a cluster can read it, and names it by its digest.

Called by `stillhouse run --cluster`. What lies elsewhere, such as s3://bucket/rows.jsonl, the controller reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.artifacts.messages import message_json
from stillhouse.artifacts.store import Store
from stillhouse.controller.inputs import local_file, local_path
from stillhouse.controller.requests import is_directory_base
from stillhouse.controller.runs import run_folder
from stillhouse.errors import DataLoss, InvalidArgument, NotFound
from stillhouse.spec.models import Distillation, DistillationSpec
from stillhouse.spec.sources import Concepts, Import, Source
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet

_ARTIFACT = "sha256:"
_LISTING = "base.json"


@dataclass(frozen=True)
class LocalSource:
    """A file or folder of this machine that a spec names."""

    location: tuple[str | int, ...]
    """Keys and indices below `spec`, as the file has them."""
    uri: str
    path: Path
    sha256: str | None = None
    """What the spec says of its bytes."""

    @property
    def where(self) -> str:
        """`spec.dataset.imports[0].uri`."""
        return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.location)


@dataclass(frozen=True)
class Upload:
    """A local source that is in the store."""

    source: LocalSource
    sha256: str
    """What stands for it: of the file, or of the list of a folder's files."""
    files: tuple[Artifact, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


def local_sources(spec: DistillationSpec, directory: Path) -> list[LocalSource]:
    """Everything that the spec names on this machine; relative paths are below `directory`."""
    return [
        LocalSource(location, uri, path, sha256)
        for location, uri, sha256 in _named(spec)
        if not uri.startswith(_ARTIFACT) and (path := local_path(uri, directory, "spec")) is not None
    ]


def upload(source: LocalSource, store: Store) -> Upload:
    """Puts it into the store, unless it is there.

    Raises NotFound, InvalidArgument, PermissionDenied or DataLoss (another sha256 than the spec says), naming the
    spec's path, and what the store raises.
    """
    if source.location == ("student", "base"):
        return _directory(source, store)
    artifact = local_file(source.path, store, source.where, source.path.name)
    if source.sha256 is not None and artifact.sha256 != source.sha256:
        raise DataLoss(
            f"{source.where}: {source.uri} has sha256 {artifact.sha256}, the spec says {source.sha256}",
            field=source.where,
        )
    return Upload(source, artifact.sha256, (artifact,))


def remember(store: Store, run: str, uploads: Sequence[Upload]) -> None:
    """Writes down what was uploaded for the run of that name: it is named from now on, and no collector takes it."""
    document = {
        "uploads": [
            {
                "where": made.source.where,
                "uri": made.source.uri,
                "sha256": made.sha256,
                "files": [{"name": file.name, "sha256": file.sha256} for file in made.files],
            }
            for made in uploads
        ]
    }
    store.put_object(f"{run_folder(run)}/uploads.json", json.dumps(document, ensure_ascii=False, indent=1).encode())


def document_of(distillation: Distillation, uploads: Sequence[Upload]) -> dict[str, Any]:
    """The Distillation as its file says it, without defaults, with digests where uploads were named."""
    document = distillation.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for made in uploads:
        *way, last = made.source.location
        node: Any = document["spec"]
        for part in way:
            node = node[part]
        node[last] = f"{_ARTIFACT}{made.sha256}"
    return document


def _named(spec: DistillationSpec) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    """Where a source is named, its uri, its digest."""
    for location, source in _sources(spec):
        if source is not None and source.uri is not None:
            yield (*location, "uri"), source.uri, source.sha256
    if is_directory_base(spec.student.base):
        yield ("student", "base"), spec.student.base, None


def _sources(spec: DistillationSpec) -> Iterator[tuple[tuple[str | int, ...], Import | Concepts | Source | None]]:
    dataset = spec.dataset
    for index, source in enumerate(dataset.imports):
        yield ("dataset", "imports", index), source
    for index, stage in enumerate(spec.teacher_stages):
        yield ("dataset", "teacher", "stages", index, "import"), stage.import_
    yield ("dataset", "concepts"), dataset.concepts
    yield ("dataset", "validation"), dataset.validation
    if (wanted := spec.optimization) is not None:
        yield ("optimization", "train"), wanted.train
        yield ("optimization", "validation"), wanted.validation


def _directory(source: LocalSource, store: Store) -> Upload:
    """A Hugging Face directory: what stands for it is the list of its files."""
    if source.path.is_file():
        raise InvalidArgument(f"{source.where}: {source.path} is a file, not a Hugging Face directory")
    if not (source.path / "config.json").is_file():
        raise NotFound(
            f"{source.where}: {source.uri} is no Hugging Face directory (it has no config.json)", field=source.where
        )
    files: ArtifactSet = store.put_directory(source.path)
    listing = store.put_bytes(message_json(files).encode(), name=_LISTING, media_type="application/json")
    return Upload(source, listing.sha256, (*files.files, listing))
