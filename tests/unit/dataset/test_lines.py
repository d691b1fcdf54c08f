"""JSONL lines: what is read, what is refused with file and line, and files that are replaced whole."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from stillhouse.dataset.lines import MAX_LINE_BYTES, count_lines, json_line, lines_of, read_rows, replacing, unwritable
from stillhouse.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)


def test_rows_know_their_file_and_line_and_blank_lines_are_counted() -> None:
    rows = list(read_rows(['{"a": 1}\n', "\n", '{"a": 2}'], source="rows.jsonl"))
    assert [(row.place, row.values["a"]) for row in rows] == [("rows.jsonl:1", 1), ("rows.jsonl:3", 2)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 1', "is not JSON"),
        ("[1]", "no JSON object but list"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1e999}', "1e999 is no JSON number"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": ' + "[" * 100_000, "is not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"a": "' + "x" * MAX_LINE_BYTES + '"}', "longer than 4 MiB"),
    ],
)
def test_a_broken_line_is_refused_with_file_and_line(line: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl:2 ") as caught:
        list(read_rows(['{"a": 1}', line], source="rows.jsonl"))
    assert reason in caught.value.message
    assert len(caught.value.message) < 300


def test_a_file_is_read_with_or_without_byte_order_mark_and_last_line_break(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa1"}\r\n{"a": 2}')
    assert [row.values["a"] for row in read_rows(lines_of(path), source="rows.jsonl")] == ["á", 2]
    assert count_lines(path) == 2


def test_bytes_that_are_not_utf8_are_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    with pytest.raises(InvalidArgument, match=r"import.jsonl:2 is not UTF-8"):
        list(lines_of(path, source="import.jsonl"))


def test_an_overlong_line_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as stream:
        stream.truncate(64 * MAX_LINE_BYTES)
    with pytest.raises(InvalidArgument, match=r"rows.jsonl:1 is longer"):
        list(lines_of(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.jsonl"):
        list(lines_of(tmp_path / "absent.jsonl"))
    with pytest.raises(InvalidArgument, match="no file"):
        list(lines_of(tmp_path))


def test_written_lines_are_utf8_sorted_and_split_only_at_the_line_break() -> None:
    line = json_line({"b": "á\u2028\u2029\x85\x0b\n", "a": 0.1})
    assert line.startswith('{"a": 0.1, "b": "á')
    assert line.splitlines() == [line.rstrip("\n")]
    assert json.loads(line) == {"b": "á\u2028\u2029\x85\x0b\n", "a": 0.1}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as stream:
        stream.writelines(["half", 2])  # type: ignore[list-item]
    assert path.read_text() == "old"
    with replacing(path) as stream:
        stream.write("new")
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(NotFound, match=r"absent/out.jsonl can't be written.*make its folder first"),
        replacing(tmp_path / "absent" / "out.jsonl"),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, ResourceExhausted, "free some space"),
        (errno.EACCES, PermissionDenied, "name another place"),
        (errno.EROFS, PermissionDenied, "name another place"),
        (errno.EISDIR, InvalidArgument, "name another place"),
        (errno.ENOTDIR, InvalidArgument, "name another place"),
        (errno.EIO, Unavailable, "Input/output error"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_remedy(number: int, kind: type[StillhouseError], remedy: str) -> None:
    error = unwritable(Path("out.jsonl"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert error.message.startswith("out.jsonl can't be written: ")
    assert error.message.endswith(remedy)
