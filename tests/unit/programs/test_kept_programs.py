"""Programs by path and by digest: whatever names one, the same comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from program_folders import INSTRUCTIONS, product_owner_program
from stillhouse.artifacts.store import Store
from stillhouse.client.programs import OptimizedPrompt
from stillhouse.programs.document import program_sha256
from stillhouse.programs.folder import write_program
from stillhouse.programs.kept import is_digest, keep_program, load_program

PROGRAM = product_owner_program()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_program(tmp_path / "program", PROGRAM, {})
    return tmp_path / "program"


def test_a_path_may_be_text_or_a_path(folder: Path) -> None:
    assert load_program(folder) == load_program(str(folder)) == load_program(folder / "program.json") == PROGRAM
    assert OptimizedPrompt.load(folder).guidance.instructions == INSTRUCTIONS


def test_what_is_kept_comes_with_the_artifact_that_names_it(folder: Path, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    kept = keep_program(folder, store)
    assert (kept.program, kept.artifact.sha256) == (PROGRAM, program_sha256(PROGRAM))
    assert keep_program(f"sha256:{kept.artifact.sha256}", store) == kept


def test_a_digest_is_told_from_a_path(folder: Path) -> None:
    assert [is_digest(reference) for reference in ("sha256:ab", str(folder), folder)] == [True, False, False]
