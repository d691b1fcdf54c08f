"""Brings what a spec names from outside into the store. The runner calls it before it plans; it may read files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore

from stillhouse.artifacts.backend import open_remote, translated
from stillhouse.artifacts.messages import parse_json
from stillhouse.artifacts.store import JSONL_MEDIA_TYPE, Store
from stillhouse.controller.requests import Inputs, is_directory_base
from stillhouse.dataset.concepts import concept_line
from stillhouse.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, StillhouseError
from stillhouse.roles.role import load_role
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.sources import Concepts, Import, Synthesized
from stillhouse.spec.values import number
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet

_ARTIFACT = "sha256:"
_PLANTED = 0.3
"""The fraction of synthesized records with planted findings."""


def bring_in(spec: DistillationSpec, store: Store, *, directory: Path | None) -> Inputs:
    """Puts every input into the store and returns their artifacts.

    Relative paths are below `directory`; None: there are no files here, and a path raises InvalidArgument.
    Raises NotFound, PermissionDenied, DataLoss (another sha256 than the spec says) or, of a remote store, Unavailable;
    the message names the spec's path.
    """
    imports = tuple(
        _import(source, spec, store, directory, f"spec.dataset.imports[{index}]", f"import-{index}.jsonl")
        for index, source in enumerate(spec.dataset.imports)
    )
    stage_imports = tuple(
        None
        if (source := stage.import_) is None
        else _import(
            source, spec, store, directory, f"spec.dataset.teacher.stages[{index}].import", f"stage-{index}.jsonl"
        )
        for index, stage in enumerate(spec.teacher_stages)
    )
    concepts = _concepts(spec.dataset.concepts, spec, store, directory) if spec.dataset.concepts is not None else None
    validation = None
    if spec.dataset.validation is not None:
        rows = spec.dataset.validation
        validation = _bytes(rows.uri, rows.sha256, store, directory, "spec.dataset.validation", name="validation.jsonl")
    train, tested = _optimization_rows(spec, store, directory)
    return Inputs(
        imports=imports,
        concepts=concepts,
        stage_imports=stage_imports,
        validation=validation,
        base_directory=_base_directory(spec, store, directory),
        optimization_train=train,
        optimization_validation=tested,
    )


def _import(
    source: Import, spec: DistillationSpec, store: Store, directory: Path | None, where: str, name: str
) -> Artifact:
    if source.synthesized is not None:
        return _written(synthesized_rows(spec.role, source.synthesized), store, name)
    return _bytes(source.uri or "", source.sha256, store, directory, where, name=name)


def _optimization_rows(
    spec: DistillationSpec, store: Store, directory: Path | None
) -> tuple[Artifact | None, Artifact | None]:
    """Those that the spec names itself, for demos and for scores."""
    if (wanted := spec.optimization) is None:
        return None, None
    train, tested = (
        None if rows is None else _import(rows, spec, store, directory, f"spec.optimization.{use}", f"{use}.jsonl")
        for use, rows in (("train", wanted.train), ("validation", wanted.validation))
    )
    return train, tested


def _concepts(source: Concepts, spec: DistillationSpec, store: Store, directory: Path | None) -> Artifact:
    name = "concepts.jsonl"
    if (wanted := source.synthesized) is not None:
        examples = load_role(spec.role).examples(count=wanted.count, seed=wanted.seed, planted=number(wanted.planted))
        return _written(map(concept_line, examples), store, name)
    return _bytes(source.uri or "", source.sha256, store, directory, "spec.dataset.concepts", name=name)


def _written(lines: Iterable[str], store: Store, name: str) -> Artifact:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "synthesized.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        return store.put_file(path, name=name, media_type=JSONL_MEDIA_TYPE)


def synthesized_rows(role_name: str, wanted: Synthesized) -> Iterator[str]:
    """Import rows (JSONL) that the role's synthesizer and scripted author write; a function of count and seed."""
    role = load_role(role_name)
    for example in role.examples(count=wanted.count, seed=wanted.seed, planted=_PLANTED):
        row = {**example.labels, **example.inputs, "model": "scripted-author"}
        row["response"] = role.author(example, seed=wanted.seed)
        yield json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"


def _bytes(uri: str, sha256: str | None, store: Store, directory: Path | None, where: str, *, name: str) -> Artifact:
    """The name enters the digest, so it says what the bytes are for; what their user calls them may change."""
    if uri.startswith(_ARTIFACT):
        digest = uri.removeprefix(_ARTIFACT)
        if not store.has_blob(digest):
            raise NotFound(f"{where}: no artifact {uri} in {store.uri}", field=where)
        return Artifact(name=name, sha256=digest)
    path = local_path(uri, directory, where)
    artifact = local_file(path, store, where, name) if path is not None else _remote(uri, store, where, name)
    if sha256 is not None and artifact.sha256 != sha256:
        raise DataLoss(f"{where}: {uri} has sha256 {artifact.sha256}, the spec says {sha256}", field=where)
    return artifact


def local_path(uri: str, directory: Path | None, where: str) -> Path | None:
    """The file or folder of this machine that a uri names; None for one that lies elsewhere."""
    parts = urlsplit(uri)
    if "://" in uri and parts.scheme != "file":
        return None
    if directory is None:
        raise InvalidArgument(
            f"{where}: {uri} is a path, which a cluster can't read: `stillhouse run FILE --cluster` uploads it, or "
            "name an object such as s3://bucket/rows.jsonl",
            field=where,
        )
    return Path(unquote(parts.path)) if parts.scheme == "file" else directory / Path(uri).expanduser()


def local_file(path: Path, store: Store, where: str, name: str) -> Artifact:
    """Puts a file into the store. Raises InvalidArgument, NotFound or PermissionDenied, naming the spec's path."""
    try:
        path.stat()
        if not path.is_file():
            raise InvalidArgument(f"{where}: {path} is no file", field=where)
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"{where}: {path} does not exist", field=where) from exc
    except OSError as exc:
        raise PermissionDenied(f"{where}: {path} cannot be read: {exc.strerror}", field=where) from exc
    return store.put_file(path, name=name, media_type=JSONL_MEDIA_TYPE)


def _remote(uri: str, store: Store, where: str, name: str) -> Artifact:
    root, _, path_in_root = uri.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "download"
        try:
            source = open_remote(root)
            with translated(uri, "read"), path.open("wb") as file:
                for chunk in obstore.get(source, path_in_root).stream():
                    file.write(chunk)
        except StillhouseError as exc:
            raise type(exc)(f"{where}: {exc.message}", field=where) from exc
        return store.put_file(path, name=name, media_type=JSONL_MEDIA_TYPE)


def _base_directory(spec: DistillationSpec, store: Store, directory: Path | None) -> ArtifactSet | None:
    base = spec.student.base
    if not is_directory_base(base):
        return None
    if base.startswith(_ARTIFACT):
        return _stored_directory(base, store)
    path = local_path(base, directory, "spec.student.base")
    if path is None or not (path / "config.json").is_file():
        raise NotFound(
            f"spec.student.base: {base} is no Hugging Face directory (it has no config.json)", field="spec.student.base"
        )
    return store.put_directory(path)


def _stored_directory(base: str, store: Store) -> ArtifactSet:
    """A directory that was uploaded: the artifact is the list of its files."""
    listing = Artifact(name="base.json", sha256=base.removeprefix(_ARTIFACT))
    return parse_json(store.read_bytes(listing), ArtifactSet(), source=f"spec.student.base {base}")
