"""Programs that a Distillation made, or that a store keeps: found by run and by digest, and named by `status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli_leaves import run_leaf
from program_folders import METADATA, demos, product_owner_program
from report_run import NAME, Writer
from stillhouse.artifacts.store import Store
from stillhouse.programs.document import program_bytes, program_sha256
from stillhouse.programs.folder import DIGEST, write_program
from stillhouse.v1.optimizer_pb2 import OptimizeRequest, OptimizeResult

PROGRAM = product_owner_program(shown=demos(1))
SHA256 = program_sha256(PROGRAM)
Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Place:
    """A store with a run that has optimised a prompt, and one that has not."""

    uri: str
    capsys: Capture

    def run(self, *arguments: object) -> tuple[int, str, str]:
        outcome = run_leaf(self.capsys, *arguments, "--store", self.uri)
        return outcome.code, " ".join(outcome.out.split()), " ".join(outcome.err.split())


@pytest.fixture
def place(tmp_path: Path, capsys: Capture) -> Place:
    store = Store.open(str(tmp_path / "store"))
    writer = Writer(store, [])
    metadata = json.dumps({**METADATA, DIGEST: SHA256}).encode()
    result = OptimizeResult(
        program=store.put_bytes(program_bytes(PROGRAM), name="program.json"),
        metadata=store.put_bytes(metadata, name="metadata.json"),
    )
    writer.commit("optimize", "optimize", OptimizeRequest(), result, seconds=90.0)
    writer.finish("succeeded")
    record = json.loads(store.read_object(f"distillations/{NAME}/status.json") or b"")
    store.put_object("distillations/plain/status.json", json.dumps({**record, "steps": []}).encode())
    return Place(store.uri, capsys)


def test_the_program_of_a_run_is_shown_with_its_metadata(place: Place) -> None:
    code, out, err = place.run("program", "show", NAME)
    assert code == 0, err
    assert f"program {SHA256}" in out
    assert "model gemini-2.5-pro" in out
    assert "generate: demo 1 of 1" in out


def test_a_program_is_shown_by_its_digest(place: Place) -> None:
    code, out, err = place.run("program", "show", f"sha256:{SHA256}", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert (document["program_sha256"], document["metadata"]) == (SHA256, {})
    assert "there is no metadata.json with it" in place.run("program", "show", f"sha256:{SHA256}")[1]


def test_a_folder_a_digest_and_a_run_are_compared(place: Place, tmp_path: Path) -> None:
    write_program(tmp_path / "other", product_owner_program("Other."), {})
    assert place.run("program", "diff", NAME, f"sha256:{SHA256}")[0] == 0
    code, out, _ = place.run("program", "diff", NAME, tmp_path / "other")
    assert (code, "+ Other." in out) == (1, True)


def test_a_folder_goes_before_a_run_of_its_name(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_program(tmp_path / NAME, product_owner_program("Other."), {})
    assert "Other." in place.run("program", "show", NAME)[1]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("plain", "run plain has made no program"),
        ("nobody", "there is no folder nobody here, and no run 'nobody' in"),
        ("sha256:" + "0" * 64, "no program sha256:00"),
        ("sha256:nonsense", "nonsense"),
        ("no/where", "there is no no/where"),
        ("other.json", "there is no other.json"),
    ],
)
def test_what_is_no_program_is_named(place: Place, named: str, words: str) -> None:
    code, _, err = place.run("program", "show", named)
    assert (code, words in err) == (65, True), err


def test_the_status_of_a_run_names_its_program(place: Place) -> None:
    assert place.run("status", NAME)[1].endswith(f"program sha256:{SHA256}")
    assert "program" not in place.run("status", "plain")[1]
    told = {each["name"]: each["program"] for each in json.loads(place.run("status", "--json")[1])}
    assert told == {NAME: f"sha256:{SHA256}", "plain": None}
