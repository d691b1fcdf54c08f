"""Finds the GGUF file to serve: a path, or a digest that is fetched from the store into a cache and verified.

Called by `__main__` before the engine starts; knows no grpc and no llama.cpp.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stillhouse.artifacts.store import Store
from stillhouse.cache import cache_errors
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from stillhouse.v1 import artifact_pb2

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class ModelFile:
    """A verified GGUF file on this machine."""

    path: Path
    sha256: str
    size_bytes: int


def locate_model(model: str, *, store_uri: str | None, cache: Path) -> ModelFile:
    """`model` is a path or `sha256:HEX`, whose bytes come from the cache where they are whole, else from the store.

    Raises InvalidArgument (no such form, no store), NotFound, PermissionDenied (file or cache), FailedPrecondition (not
    GGUF), and the store's errors, DataLoss among them where the store's bytes are not what their digest says.
    """
    match = _DIGEST.fullmatch(model)
    if match is None:
        if model.startswith("sha256:"):
            raise InvalidArgument(f"--model {model}: a digest is sha256: and 64 hexadecimal digits", field="model")
        found = _described(Path(model))
    else:
        found = _fetched(match.group(1), store_uri, cache)
    with found.path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise FailedPrecondition(f"{model} is not a GGUF file; `stillhouse export` makes one", field="model")
    return found


def _fetched(sha256: str, store_uri: str | None, cache: Path) -> ModelFile:
    path = cache / "models" / f"{sha256}.gguf"
    if path.is_file() and (found := _described(path)).sha256 == sha256:
        return found
    if not store_uri:
        raise InvalidArgument(
            f"--model sha256:{sha256} needs --store (or STILLHOUSE_STORE), the store that holds it", field="store"
        )
    with cache_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass  # it can be written: a refusal while fetching would be blamed on the store
    Store.open(store_uri).fetch(artifact_pb2.Artifact(name="model.gguf", sha256=sha256), path)
    return ModelFile(path.resolve(), sha256, path.stat().st_size)


def _described(path: Path) -> ModelFile:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return ModelFile(path.resolve(), digest, stream.tell())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
        raise NotFound(f"there is no model file {path}", field="model") from exc
    except OSError as exc:
        raise PermissionDenied(f"the model file {path} cannot be read: {exc.strerror}", field="model") from exc
