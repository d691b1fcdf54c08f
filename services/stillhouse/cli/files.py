"""Local files of the commands: outputs written whole or not at all, input files, folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.errors import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.v1.artifact_pb2 import Artifact


def json_text(document: Mapping[str, Any]) -> str:
    """Indented JSON with a line break at its end."""
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes indented JSON, whole or not at all. Raises NotFound, PermissionDenied, ResourceExhausted."""
    write_lines(path, [json_text(document)])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines (each with its line break), whole or not at all. Raises as write_json does."""
    from stillhouse.dataset.lines import replacing

    with replacing(path) as stream:
        stream.writelines(lines)


def write_together(texts: Mapping[Path, str]) -> None:
    """Writes the files, the last first; where one can't be written, neither it nor those before it are.

    Raises as write_json does.
    """
    from stillhouse.dataset.lines import replacing

    with ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(replacing(path)).write(text)


def make_folder(folder: Path) -> Path:
    """The output folder, made if it is not there. Raises FailedPrecondition, PermissionDenied, ResourceExhausted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _folder_error(folder, exc) from exc
    return folder


def existing_folder(folder: Path, *, with_file: str) -> Path:
    """An input folder that holds `with_file`. Raises NotFound naming what is missing."""
    if not (folder / with_file).is_file():
        raise NotFound(f"{folder} has no {with_file}; name the folder that holds it")
    return folder


def existing_file(path: Path) -> Path:
    """An input file. Raises NotFound."""
    if not path.is_file():
        raise NotFound(f"no such file: {path}")
    return path


def read_file(path: Path) -> bytes:
    """All bytes of an input file, or of a pipe. Raises NotFound, PermissionDenied, Unavailable."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise NotFound(f"no such file: {path}") from exc
    except PermissionError as exc:
        raise PermissionDenied(f"{path} can't be opened: {exc.strerror}; may you read it?") from exc
    except OSError as exc:
        raise Unavailable(f"{path} can't be read: {exc.strerror or exc}") from exc


def fetch_files(store: Store, artifacts: Iterable[Artifact], folder: Path) -> list[Path]:
    """Those artifacts as files of `folder`, by the last part of their names; empty ones are skipped."""
    make_folder(folder)
    named = [artifact for artifact in artifacts if artifact.sha256]
    return [store.fetch(artifact, folder / artifact.name.rsplit("/", 1)[-1]) for artifact in named]


def _folder_error(folder: Path, exc: OSError) -> StillhouseError:
    if isinstance(exc, (FileExistsError, NotADirectoryError)):
        return FailedPrecondition(f"{folder} is in the way: it is a file, not a folder; name another output")
    if isinstance(exc, PermissionError):
        return PermissionDenied(f"{folder} can't be made: {exc.strerror}; name another output")
    return ResourceExhausted(f"{folder} can't be made: {exc.strerror or exc}; is the disk full or read-only?")
