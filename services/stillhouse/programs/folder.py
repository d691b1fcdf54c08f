"""A program's folder: program.json, what the program is, and metadata.json, how it came about.

Called by the optimizer and the commands. Knows no DSPy; of the metadata it knows the program's digest alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.dataset.lines import replacing, unwritable
from stillhouse.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, Unavailable
from stillhouse.programs.document import MAX_BYTES, json_bytes, program_bytes, read_program
from stillhouse.programs.program import Json, Program

PROGRAM_FILE = "program.json"
METADATA_FILE = "metadata.json"
DIGEST = "program_sha256"
"""Key of the metadata: SHA-256 of the bytes of program.json."""


def write_program(folder: Path, program: Program, metadata: Mapping[str, Json]) -> None:
    """Writes both files; the folder is made, a program in it replaced. program.json comes last and whole.

    Raises InvalidArgument where the program or the metadata can't be kept as JSON without loss, else what an error of
    the file system means.
    """
    data = program_bytes(program)
    if read_program(data, source=PROGRAM_FILE) != program:
        raise InvalidArgument("this program would not come back from JSON as it is: its values are not JSON's")
    noted = json_bytes({**metadata, DIGEST: hashlib.sha256(data).hexdigest()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Killed between the two files, the folder has no program rather than one beside another's metadata.
        (folder / PROGRAM_FILE).unlink(missing_ok=True)
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    for name, content in ((METADATA_FILE, noted), (PROGRAM_FILE, data)):
        with replacing(folder / name) as stream:
            stream.write(content.decode())


def read_folder(path: Path) -> tuple[Program, dict[str, Any]]:
    """The program and its metadata; `path` is the folder or its program.json. Metadata may be missing: then {}.

    Raises NotFound, PermissionDenied, Unavailable; DataLoss where program.json is not the one that the metadata
    describe; InvalidArgument where a file is not what it should be.
    """
    folder, file = (path, path / PROGRAM_FILE) if path.is_dir() else (path.parent, path)
    data = _read(file)
    metadata = _metadata(folder / METADATA_FILE)
    if metadata and (found := hashlib.sha256(data).hexdigest()) != metadata[DIGEST]:
        raise DataLoss(
            f"{file} is not the program that {METADATA_FILE} describes: its sha256 is {found}, not "
            f"{metadata[DIGEST]}; bytes were changed: take the folder again from where it was written"
        )
    return read_program(data, source=str(file)), metadata


def _metadata(file: Path) -> dict[str, Any]:
    try:
        data = _read(file)
    except NotFound:
        return {}
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{file} is no JSON: {exc}") from exc
    if not isinstance(document, dict) or not isinstance(document.get(DIGEST), str):
        raise InvalidArgument(f"{file} has no {DIGEST}: it is no program's {METADATA_FILE}")
    return document


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise NotFound(f"there is no {file}; name a program's folder or its {PROGRAM_FILE}") from exc
    except PermissionError as exc:
        raise PermissionDenied(f"{file} can't be opened: {exc.strerror}; may you read it?") from exc
    except OSError as exc:
        raise Unavailable(f"{file} can't be read: {exc.strerror or exc}") from exc
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{file} has more than {MAX_BYTES // 1024**2} MiB: it is no program's file")
    return data
