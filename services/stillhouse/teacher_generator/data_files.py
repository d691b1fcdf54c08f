"""The files of a generation into a file of the user's own: where they lie, who may write them, what is in them already.

Used by `data_file` and the command line. Beside DATA.jsonl lie DATA.calls.jsonl, DATA.dead-letters.jsonl, DATA.log and
DATA.generation.json, the request, which a retry needs. It asks nobody.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from google.protobuf import json_format

from stillhouse.dataset.importing import read_candidates
from stillhouse.dataset.lines import json_line, lines_of, read_rows, replacing, unwritable
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound
from stillhouse.roles.role import Role
from stillhouse.teachers.dialogue import inputs_digest
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest

Mode = Literal["a", "w"]
"""Whether a file is gone on with or started anew."""


@dataclass(frozen=True)
class DataFiles:
    """The data file and what lies beside it."""

    records: Path

    def __post_init__(self) -> None:
        """Raises InvalidArgument for a name that is none, or is taken by what lies beside the data."""
        if self.records.name in ("", ".."):
            raise InvalidArgument(f"{self.records} is a folder; name a file in it, DATA.jsonl")
        if self.records.suffix == ".log":
            raise InvalidArgument(f"{self.records} is where events are logged; name the output DATA.jsonl")

    @property
    def calls(self) -> Path:
        """One call a line."""
        return self.records.with_suffix(".calls.jsonl")

    @property
    def dead_letters(self) -> Path:
        """Concepts that no attempt answered well."""
        return self.records.with_suffix(".dead-letters.jsonl")

    @property
    def retried_letters(self) -> Path:
        """The dead letters of a retry that has not ended."""
        return self.dead_letters.with_suffix(".retried")

    @property
    def retried_calls(self) -> Path:
        """The calls of a retry that has not ended."""
        return self.calls.with_suffix(".retried")

    @property
    def log(self) -> Path:
        """One event a line: every answer, every refusal of the server."""
        return self.records.with_suffix(".log")

    @property
    def request(self) -> Path:
        """How the file was generated."""
        return self.records.with_suffix(".generation.json")

    def read_request(self) -> GenerateRecordsRequest:
        """What the data file was generated with. Raises NotFound or InvalidArgument."""
        try:
            request = json_format.Parse("".join(lines_of(self.request)), GenerateRecordsRequest())
        except NotFound as exc:
            raise NotFound(f"{exc.message}; {self.records} was not made by stillhouse generate") from exc
        except json_format.ParseError as exc:
            raise InvalidArgument(f"{self.request} is no generation request: {exc}") from exc
        if not request.stages:
            raise InvalidArgument(f"{self.request} names no model that was asked; generate {self.records} again")
        return request

    def write_request(self, request: GenerateRecordsRequest) -> None:
        """Keeps the request for a retry."""
        with replacing(self.request) as stream:
            stream.write(json_format.MessageToJson(request, preserving_proto_field_name=True) + "\n")


@contextmanager
def alone(files: DataFiles) -> Iterator[None]:
    """Nobody else generates into these files meanwhile. Raises FailedPrecondition where somebody does."""
    with open_text(files.log, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise FailedPrecondition(
                f"another process generates into {files.records}; wait for it, stop it, or name another output"
            ) from exc
        except OSError:
            # Some network file systems know no locks; they are no reason not to work there.
            pass
        yield


def open_text(path: Path, mode: Mode) -> TextIO:
    """The text file, opened to write. Raises what `unwritable` makes of an error of the file system."""
    try:
        return path.open(mode, encoding="utf-8", newline="\n")
    except OSError as exc:
        raise unwritable(path, exc) from exc


def records_present(path: Path, role: Role) -> Counter[int]:
    """What is in the data file, by `inputs_digest`, after half a line at its end is cut off.

    Nothing, where there is no such file. Raises InvalidArgument that names file and line where a line is corrupt.
    """
    if not path.exists():
        return Counter()
    cut_half_line(path)
    rows = read_candidates(lines_of(path), source=path.name, shape=role)
    return Counter(inputs_digest(candidate.inputs) for candidate in rows)


def keep_retries(calls: Path) -> None:
    """Leaves of a calls file only what retries asked: all else is written afresh, from the log."""
    if not calls.exists():
        return
    cut_half_line(calls)
    with replacing(calls) as kept:
        for row in read_rows(lines_of(calls), source=calls.name):
            if row.values.get("retry"):
                kept.write(json_line(row.values))


def cut_half_line(path: Path) -> None:
    """Cuts off what stands behind the last line break: a kill may leave half a line.

    Raises what `unwritable` makes of an error of the file system.
    """
    try:
        with path.open("r+b") as stream:
            end = position = stream.seek(0, 2)
            while position > 0:
                start = max(0, position - 65_536)
                stream.seek(start)
                found = stream.read(position - start).rfind(b"\n")
                if found >= 0:
                    position = start + found + 1
                    break
                position = start
            if position != end:
                stream.truncate(position)
    except OSError as exc:
        raise unwritable(path, exc) from exc
