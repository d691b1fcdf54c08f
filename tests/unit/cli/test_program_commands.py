from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_leaves import Outcome, run_leaf
from program_folders import INSTRUCTIONS, METADATA, demos, product_owner_program
from stillhouse.programs.document import program_sha256
from stillhouse.programs.folder import read_folder, write_program
from stillhouse.programs.program import Program
from stillhouse.roles.product_owner import ROLE

PROGRAM = product_owner_program(shown=demos(2))
COMPONENTS: dict[str, Any] = {
    "role": "product_owner",
    "type": "ProductOwnerModule",
    "modules": {
        "generate": {
            "type": "Predict",
            "instructions": "Sei kurz.",
            "fields": {
                **{name: {"type": "input", "desc": name} for name in ROLE.input_fields},
                **{name: {"type": "output", "desc": name} for name in ROLE.output_fields},
            },
        }
    },
}


def folder_of(path: Path, program: Program = PROGRAM, **metadata: Any) -> Path:
    write_program(path, program, {**METADATA, **metadata})
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    outcome = run_leaf(capsys, "program", *arguments)
    assert max((len(line) for line in outcome.out.splitlines()), default=0) <= 100
    return outcome


def test_show_prints_the_program_its_origin_its_scores_and_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = shown(capsys, "show", folder_of(tmp_path / "p"))

    assert outcome.code == 0
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert f"program {program_sha256(PROGRAM)}" in lines
    assert "role product_owner, version 1" in lines
    assert "baseline 0.9612, 88.2 % valid, failed: there is no REVIEW block 3, too long 1" in lines
    assert "score 0.9734, 100.0 % valid" in lines
    assert "trainset path train.jsonl, sha256 aaaaaaaaaaaa" in lines
    assert "model gemini-2.5-pro" in lines
    assert "seed 7" in lines
    assert "concept input str what concept holds" in lines
    assert "generate: demo 2 of 2" in lines
    assert "1 minibatch 0.9900 instructions 2, demos 5" in lines
    assert "2 full 0.9734 best instructions 2, demos 5" in lines
    assert all(line in lines for line in INSTRUCTIONS.splitlines())


def test_show_prints_a_program_alone_where_there_are_no_metadata(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "p", product_owner_program())
    (folder / "metadata.json").unlink()
    outcome = shown(capsys, "show", folder / "program.json")
    assert outcome.code == 0
    assert "none: there is no metadata.json with it" in outcome.out
    assert "generate: no demos" in outcome.out


def test_show_gives_all_of_it_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_leaf(capsys, "program", "show", folder_of(tmp_path / "p"), "--json")
    written = json.loads((tmp_path / "p" / "program.json").read_text(encoding="utf-8"))
    assert outcome.json["program"] == written
    assert outcome.json["metadata"]["trials"] == METADATA["trials"]
    assert outcome.json["program_sha256"] == program_sha256(PROGRAM)


def test_a_program_with_a_changed_byte_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder_of(tmp_path / "p") / "program.json"
    file.write_bytes(file.read_bytes().replace(b"Sei kurz", b"Sei kurs"))
    for arguments in (("show", file), ("show", file.parent, "--json"), ("diff", file, file)):
        outcome = shown(capsys, *arguments)
        assert outcome.code == 65
        assert "is not the program that metadata.json describes" in outcome.err
        assert outcome.out == ""


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": "stillhouse.dev/program/v9"}'])
def test_what_is_no_program_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "program.json").write_text(content)
    outcome = shown(capsys, "show", tmp_path)
    assert outcome.code == 65
    assert "program.json is no program.json" in outcome.err


def test_a_missing_program_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = shown(capsys, "show", tmp_path / "nowhere")
    assert outcome.code == 65
    assert "nowhere" in outcome.err


def test_diff_of_the_same_program_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = shown(capsys, "diff", folder_of(tmp_path / "a"), folder_of(tmp_path / "b", seed=8))
    assert outcome.code == 0
    assert "the programs are the same" in outcome.out
    assert ["seed", "7", "8"] in [line.split() for line in outcome.out.splitlines()]


def test_diff_prints_what_changed_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = product_owner_program("Sei kurz: größer ist nicht besser.\nBe kind.", demos(3)[1:])
    predictor = replace(other.predictors["generate"], config={"temperature": 0.5})
    other = replace(other, predictors={"generate": predictor})
    outcome = shown(capsys, "diff", folder_of(tmp_path / "a"), folder_of(tmp_path / "b", other, score=0.98))

    assert outcome.code == 1
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "- Name only [ids] that are there." in lines
    assert "+ Be kind." in lines
    assert "generate: demo removed: 1 of 1" in lines
    assert "generate: demo added: 1 of 1" in lines
    assert "generate: config temperature - 0.5" in lines
    assert any(line.endswith("0.9734, 100.0 % valid 0.9800") for line in lines)


def test_diff_gives_the_changes_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = folder_of(tmp_path / "a"), folder_of(tmp_path / "b", product_owner_program("Other.", demos(2)))
    outcome = run_leaf(capsys, "program", "diff", *folders, "--json")
    assert outcome.code == 1
    assert outcome.json["same"] is False
    (predictor,) = outcome.json["predictors"]
    assert predictor["instructions"][-1] == "+Other."
    same = run_leaf(capsys, "program", "diff", folders[0], folders[0], "--json")
    assert (same.code, same.json["same"]) == (0, True)


def test_import_makes_a_program_and_warns_of_what_the_file_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "program_components.json"
    file.write_text(json.dumps(COMPONENTS), encoding="utf-8")

    outcome = shown(capsys, "import", file, "--role", "product_owner", "--output", tmp_path / "p")

    assert outcome.code == 0
    assert "warning: no model, settings, seed" in outcome.err
    assert "warning: generate: no demos: it has none" in outcome.err
    assert "warning" not in outcome.out
    program, metadata = read_folder(tmp_path / "p")
    assert program.predictors["generate"].instructions == "Sei kurz."
    assert metadata["imported_from"]["path"] == str(file)
    assert "lacking no model" in " ".join(shown(capsys, "show", tmp_path / "p").out.split())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ("{}", "is no program_components.json: role"),
        (json.dumps({**COMPONENTS, "role": "quiz"}), "is of role quiz, not product_owner"),
    ],
)
def test_import_refuses_what_is_no_program_of_the_role(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    (tmp_path / "c.json").write_text(content)
    outcome = shown(capsys, "import", tmp_path / "c.json", "--output", tmp_path / "p")
    assert outcome.code == 65
    assert words in outcome.err
    assert not (tmp_path / "p").exists()


def test_an_unknown_role_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = shown(capsys, "import", tmp_path / "c.json", "--role", "nobody", "--output", tmp_path / "p")
    assert outcome.code == 2
    assert "nobody" in outcome.err
