"""JSONL at its edge: bytes of a file or a store to JSON objects and back, with file and line in every error.

Whoever reads rows comes through here. It knows JSON, not what a row means.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, NoReturn

from stillhouse.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)

MAX_LINE_BYTES = 4 * 1024 * 1024
"""No recorded answer comes near; a longer line is another format or a broken file."""

_ESCAPED_SEPARATORS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True)
class Row:
    """One JSON object and where it stands: `source` is the file's name, `line` counts from 1."""

    values: Mapping[str, Any]
    source: str
    line: int

    @property
    def place(self) -> str:
        """As error messages name it: `rows.jsonl:17`."""
        return f"{self.source}:{self.line}"


def lines_of(path: Path, *, source: str | None = None) -> Iterator[str]:
    """The file's text lines, in bounded memory; `source` names the file in errors (default: its name).

    Raises NotFound or PermissionDenied if it can't be opened, InvalidArgument naming file and line where it is not
    UTF-8 or a line is longer than MAX_LINE_BYTES.
    """
    with _opened(path) as stream:
        yield from lines_in(stream, source=source or path.name)


def lines_in(stream: IO[bytes], *, source: str) -> Iterator[str]:
    """The text lines of an open file. Raises InvalidArgument as `lines_of` does."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > MAX_LINE_BYTES:
            _refuse_length(f"{source}:{number}")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as exc:
            raise InvalidArgument(
                f"{source}:{number} is not UTF-8 ({exc.reason} at byte {exc.start}); save the file as UTF-8"
            ) from exc


def count_lines(path: Path) -> int:
    """Lines of the file, blank ones and an unterminated last one included."""
    count, last = 0, b"\n"
    with _opened(path) as stream:
        while block := stream.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def read_rows(lines: Iterable[str], *, source: str) -> Iterator[Row]:
    """The JSON objects of JSONL; blank lines are skipped but counted.

    Raises InvalidArgument that names `source` and line where a line is no JSON object, holds NaN, Infinity or a lone
    surrogate, or is longer than MAX_LINE_BYTES.
    """
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        place = f"{source}:{number}"
        if len(text) * 4 > MAX_LINE_BYTES and len(text.encode(errors="replace")) > MAX_LINE_BYTES:
            _refuse_length(place)
        yield Row(_object(text, place), source, number)


def json_line(values: Mapping[str, object], *, sort_keys: bool = True) -> str:
    """One JSONL line with its line break: UTF-8 text, not ASCII-escaped, the same bytes for the same values.

    Line separators other than the line break (U+0085, U+2028, U+2029) are escaped, so that no reader splits there.
    """
    text = json.dumps(values, ensure_ascii=False, sort_keys=sort_keys, allow_nan=False, separators=(", ", ": "))
    return text.translate(_ESCAPED_SEPARATORS) + "\n"


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of `path` when the block ends well, and never half of it.

    Raises what `unwritable` makes of an error of the file system.
    """
    try:
        stream = NamedTemporaryFile(  # noqa: SIM115 - closed below, before it is renamed
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
        )
    except OSError as exc:
        raise unwritable(path, exc) from exc
    temporary = Path(stream.name)
    try:
        with stream:
            yield stream
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, exc) from exc
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unwritable(path: Path | str, exc: OSError) -> StillhouseError:
    """The error of a file that can't be written: its class says whether another place helps, or space, or time."""
    words = f"{path} can't be written: {exc.strerror or exc}"
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceExhausted(f"{words}; free some space")
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(f"{words}; name another place")
    if exc.errno == errno.ENOENT:
        return NotFound(f"{words}; make its folder first")
    if exc.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL):
        return InvalidArgument(f"{words}; name another place")
    return Unavailable(words)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as exc:
        raise NotFound(f"no such file: {path}") from exc
    except PermissionError as exc:
        raise PermissionDenied(f"{path} can't be opened: {exc.strerror}; may you read it?") from exc
    except (IsADirectoryError, NotADirectoryError) as exc:
        raise InvalidArgument(f"{path} is no file: {exc.strerror}") from exc
    except OSError as exc:
        raise Unavailable(f"{path} can't be read: {exc.strerror or exc}") from exc


def _object(text: str, place: str) -> dict[str, Any]:
    try:
        values = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{place} is not JSON: {exc}; mend or remove that line") from exc
    if not isinstance(values, dict):
        raise InvalidArgument(f"{place} is no JSON object but {type(values).__name__}; each line is one object")
    if "\\u" in text:
        _refuse_surrogates(values, place)
    return values


def _refuse_surrogates(values: Mapping[str, object], place: str) -> None:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgument(f"{place} holds half a character ({exc.reason}); mend or remove that line") from exc


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse_constant(number)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _refuse_length(place: str) -> NoReturn:
    raise InvalidArgument(f"{place} is longer than {MAX_LINE_BYTES // 1024**2} MiB; each line is one record")
