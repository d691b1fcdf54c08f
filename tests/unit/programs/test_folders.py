from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from program_folders import METADATA, demos, product_owner_program
from stillhouse.errors import DataLoss, InvalidArgument, NotFound
from stillhouse.programs.document import MAX_BYTES, program_bytes, program_sha256, read_program
from stillhouse.programs.folder import METADATA_FILE, PROGRAM_FILE, read_folder, write_program
from stillhouse.programs.program import Demo, Program

PROGRAM = product_owner_program(shown=demos(2))


def written(folder: Path, program: Program = PROGRAM) -> Path:
    write_program(folder / "made" / "here", program, METADATA)
    return folder / "made" / "here"


def with_demo(**fields: Any) -> Program:
    predictor = replace(PROGRAM.predictors["generate"], demos=(Demo(fields),))
    return replace(PROGRAM, predictors={"generate": predictor})


def test_a_folder_is_read_as_it_was_written_by_its_name_or_its_files(tmp_path: Path) -> None:
    folder = written(tmp_path)
    program, metadata = read_folder(folder)
    assert program == PROGRAM
    assert metadata == {**METADATA, "program_sha256": program_sha256(PROGRAM)}
    assert read_folder(folder / PROGRAM_FILE) == (program, metadata)
    assert sha256((folder / PROGRAM_FILE).read_bytes()).hexdigest() == program_sha256(PROGRAM)
    assert sorted(path.name for path in folder.iterdir()) == [METADATA_FILE, PROGRAM_FILE]


def test_text_is_written_as_people_read_it(tmp_path: Path) -> None:
    assert "größer ist nicht besser" in (written(tmp_path) / PROGRAM_FILE).read_text(encoding="utf-8")


def test_any_changed_byte_of_the_program_is_data_loss(tmp_path: Path) -> None:
    file = written(tmp_path) / PROGRAM_FILE
    data = file.read_bytes()
    for place in range(0, len(data), 97):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DataLoss, match=r"is not the program that metadata\.json describes.*take the folder again"):
            read_folder(file)


def test_a_program_without_metadata_is_read(tmp_path: Path) -> None:
    (tmp_path / PROGRAM_FILE).write_bytes(program_bytes(PROGRAM))
    assert read_folder(tmp_path) == (PROGRAM, {})


def test_a_program_takes_the_place_of_another(tmp_path: Path) -> None:
    other = product_owner_program("Other.")
    write_program(tmp_path, PROGRAM, METADATA)
    write_program(tmp_path, other, {})
    assert read_folder(tmp_path) == (other, {"program_sha256": program_sha256(other)})


def test_what_is_refused_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    write_program(tmp_path, PROGRAM, METADATA)
    for program, metadata in (
        (PROGRAM, {"score": float("nan")}),
        (with_demo(note=float("inf")), {}),
        (with_demo(note=("a", "tuple")), {}),
    ):
        with pytest.raises(InvalidArgument):
            write_program(tmp_path, program, metadata)
    assert read_folder(tmp_path)[0] == PROGRAM


def test_a_missing_program_is_not_found_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no .*program.json; name a program's folder"):
        read_folder(tmp_path)
    with pytest.raises(NotFound):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("metadata", ["{", "[]", "{}", '{"program_sha256": 7}', "[" * 100_000])
def test_metadata_that_are_none_are_refused_by_name(tmp_path: Path, metadata: str) -> None:
    (tmp_path / PROGRAM_FILE).write_bytes(program_bytes(PROGRAM))
    (tmp_path / METADATA_FILE).write_text(metadata)
    with pytest.raises(InvalidArgument, match=r"metadata\.json"):
        read_folder(tmp_path)


def edited(**changes: Any) -> bytes:
    return json.dumps({**json.loads(program_bytes(PROGRAM)), **changes}).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "x.json is no program.json"),
        (b"\xff\xfe", "x.json is no program.json"),
        (b"[]", "x.json is no program.json"),
        (b"[" * 100_000, "x.json is no program.json"),
        (b" " * (MAX_BYTES + 1), "more than 16 MiB"),
        (edited(format="stillhouse.dev/program/v1"), "format: .*this version of stillhouse reads"),
        (edited(format="stillhouse.dev/program/v3"), "format: .*this version of stillhouse reads"),
        (edited(role_version="1"), "role_version: "),
        (edited(surprise=1), "surprise: "),
        (edited(modules={}), "predictor generate is not among the modules"),
        (edited(predictors={"generate": {}}), "predictors.generate.instructions: Field required"),
    ],
)
def test_what_is_no_program_is_refused_with_file_and_place(data: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        read_program(data, source="x.json")


def test_the_order_of_settings_means_nothing() -> None:
    one, other = (
        replace(PROGRAM, predictors={"generate": replace(PROGRAM.predictors["generate"], config=config)})
        for config in ({"n": 1, "temperature": 0.5}, {"temperature": 0.5, "n": 1})
    )
    assert program_sha256(one) == program_sha256(other)
