import io
import json
import time
from pathlib import Path

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.cli.files import existing_folder, make_folder, write_json
from stillhouse.cli.models import (
    ModelFile,
    ServedModel,
    ServerOptions,
    StoredModel,
    local_server,
    resolve_model,
    resolve_target,
    server_arguments,
)
from stillhouse.cli.prompting import Prompter
from stillhouse.cli.store import default_store_uri
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound, StillhouseError
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.exporter_pb2 import ExportResult


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_store_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_STORE", "s3://bucket/prefix")

    assert default_store_uri() == "s3://bucket/prefix"


def test_without_one_the_store_lies_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STILLHOUSE_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert default_store_uri() == f"file://{tmp_path}/stillhouse/store"


def test_a_relative_data_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STILLHOUSE_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert default_store_uri() == f"file://{tmp_path}/.local/share/stillhouse/store"


@pytest.mark.parametrize("address", ["localhost:50051", "127.0.0.1:1", "[::1]:50051", "student.example.org:443"])
def test_host_and_port_name_a_served_student(address: str) -> None:
    assert resolve_target(address, None) == ServedModel(address)


def test_a_gguf_file_is_itself(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()

    assert resolve_target(str(model), None) == ModelFile(model)


def test_a_digest_names_an_artifact_of_the_store() -> None:
    assert resolve_model(f"sha256:{'a' * 64}", "file:///s") == StoredModel("a" * 64, "file:///s")


def test_a_missing_gguf_file_is_named() -> None:
    with pytest.raises(NotFound, match=r"none\.gguf"):
        resolve_target("none.gguf", None)


def test_an_unknown_run_is_named_with_the_runs_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no run 'nobody'"):
        resolve_target("nobody", str(tmp_path / "store"))


def test_a_runs_name_stands_for_its_exported_student(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    manifest = Manifest(stage="export", key="e" * 64)
    manifest.result.Pack(ExportResult(model=Artifact(name="model.gguf", sha256="a" * 64)))
    store.commit_manifest(manifest)
    step = {"name": "export", "stage": "export", "key": "e" * 64, "state": "done", "message": ""}
    record = {"distillation": {}, "steps": [step], "outcome": "Succeeded", "updated": "2025-11-03T00:00:00Z"}
    store.put_object("distillations/diary/status.json", json.dumps(record).encode())

    assert resolve_target("diary", store.uri) == StoredModel("a" * 64, store.uri)


def test_what_can_be_no_name_at_all_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="host:port"):
        resolve_target("What is this?", None)


def test_a_server_is_told_model_store_and_sizes() -> None:
    arguments = server_arguments(StoredModel("a" * 64, "file:///s"), ServerOptions(port=7, parallel=3))

    assert arguments[:3] == ["-m", "stillhouse.student_inference", "serve"]
    assert " ".join(arguments).endswith(
        f"--model sha256:{'a' * 64} --store file:///s --host 127.0.0.1 --port 7 --parallel 3"
    )


def test_a_server_that_ends_says_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_text("no GGUF")

    def wait_for_its_end() -> None:
        with local_server(ModelFile(broken), ServerOptions()) as (_, check):
            for _ in range(300):
                check()
                time.sleep(0.1)

    with pytest.raises(StillhouseError, match=r"ended with \d+: .*GGUF"):
        wait_for_its_end()


def test_a_file_in_the_way_of_an_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").touch()

    with pytest.raises(FailedPrecondition, match="out is in the way"):
        make_folder(tmp_path / "out")


def test_an_input_folder_without_its_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no adapter_config\.json"):
        existing_folder(tmp_path, with_file="adapter_config.json")


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    write_json(path, {"a": 1})

    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})

    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_gives_a_line_and_then_a_text_up_to_an_empty_line() -> None:
    prompter = Prompter(io.StringIO("\na diary\n\nfirst: 1\nsecond: 2\n\nanother\nlast: 3"), io.StringIO())

    assert prompter.line("concept") == "a diary"
    assert prompter.text("requirements") == "first: 1\nsecond: 2"
    assert prompter.line("concept") == "another"
    assert prompter.text("requirements") == "last: 3"
    assert prompter.line("concept") is None


def test_a_pipe_is_told_nothing() -> None:
    screen = io.StringIO()

    Prompter(io.StringIO("a diary\n"), screen).line("concept")

    assert screen.getvalue() == ""


def test_a_person_is_asked_by_name_and_may_say_nothing() -> None:
    screen = io.StringIO()

    assert Prompter(Terminal("\n"), screen).line("concept") == ""
    assert screen.getvalue() == "concept> "


def test_an_at_sign_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: 1\n\nb: 2\n")

    assert Prompter(io.StringIO(f"@{path}\nnext\n"), io.StringIO()).text("requirements") == "a: 1\n\nb: 2\n"


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match=r"/nowhere/r\.yaml"):
        Prompter(io.StringIO("@/nowhere/r.yaml\n"), io.StringIO()).line("concept")


@pytest.mark.parametrize("typo", ["@/nowhere/r.yaml", "@~nobody-of-that-name/r.yaml", "@r\0.yaml"])
def test_a_person_who_names_no_file_is_asked_again_and_a_pipe_is_not(typo: str) -> None:
    screen = io.StringIO()

    assert Prompter(Terminal(f"{typo}\na diary\n"), screen).line("concept") == "a diary"
    assert Prompter(Terminal(f"{typo}\na: 1\n\n"), screen).text("requirements") == "a: 1"
    assert screen.getvalue().count("can't be read") == 2
    with pytest.raises(NotFound, match="can't be read"):
        Prompter(io.StringIO(f"{typo}\na diary\n"), io.StringIO()).line("concept")
