"""evaluate and chat against scripted students on localhost, and against a real server of a tiny model."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from cli_leaves import end_leaf, run_leaf, start_leaf, write_rows
from gguf_fixture import tiny_gguf
from program_folders import product_owner_program
from scripted_student_server import MODEL, OUTPUTS, REQUIREMENTS, ScriptedServicer, author_script, served
from stillhouse.artifacts.store import Store
from stillhouse.programs.folder import write_program
from stillhouse.programs.kept import keep_program
from stillhouse.rpc.config import ServerConfig

INPUTS, AUTHOR = author_script(3)
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", *[{**each, "tier": "simple", **OUTPUTS} for each in INPUTS])


def test_evaluate_writes_the_whole_evaluation(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    output = tmp_path / "eval.json"
    with served(ScriptedServicer(AUTHOR)) as server:
        arguments = ("--validation", rows, "--student", server.address, "--grammar", "role", "--output", output)
        outcome = run_leaf(capsys, "evaluate", "--role", "product_owner", *arguments)

    assert outcome.code == 0
    document = json.loads(output.read_text())
    assert document["scores"]["mean"] == 1.0
    assert document["valid_rate"] == document["guard_rate"] == 1.0
    assert document["model_sha256"] == MODEL
    assert document["constraint"] == "role_grammar"
    assert document["by_tier"]["simple"]["count"] == 3
    assert [row["valid"] for row in document["rows"]] == [True] * 3
    assert max(len(line) for line in outcome.out.splitlines() if "written" not in line) <= 100


def test_rows_from_a_pipe_are_known_by_their_bytes(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=lambda: pipe.write_bytes(rows.read_bytes()), daemon=True)
    writing.start()
    with served(ScriptedServicer(AUTHOR)) as server:
        arguments = ("--validation", pipe, "--student", server.address, "--output", tmp_path / "e.json")
        outcome = run_leaf(capsys, "evaluate", *arguments, "--json")

    assert outcome.json["scores"]["count"] == 3
    assert outcome.json["validation_sha256"] == hashlib.sha256(rows.read_bytes()).hexdigest()


def test_rows_asked_at_the_same_time_are_said_to_be(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    together = threading.Barrier(3)

    def author(text: str) -> str:
        together.wait(timeout=60)
        return AUTHOR(text)

    servicer = ScriptedServicer(author, slots=3)
    with served(servicer) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", tmp_path / "e.json")
        outcome = run_leaf(capsys, "evaluate", *arguments, "--concurrency", "3")
        too_many = run_leaf(capsys, "evaluate", *arguments, "--concurrency", "4")

    assert [request.shared_prefix and request.cache_prompt for request in servicer.requests] == [True] * 3
    assert (too_many.code, "answers at a time: 3" in " ".join(too_many.err.split())) == (65, True)
    assert outcome.code == 0, outcome.err
    assert "3 requests in flight" in outcome.out
    assert json.loads((tmp_path / "e.json").read_text())["scores"]["mean"] == 1.0


def test_without_grammar_no_answer_is_held(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    servicer = ScriptedServicer(AUTHOR)
    with served(servicer) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", tmp_path / "e.json")
        outcome = run_leaf(capsys, "evaluate", *arguments, "--grammar", "none", "--json")

    assert outcome.json["constraint"] == "none"
    assert not any(request.HasField("constraint") for request in servicer.requests)


def test_a_failed_gate_exits_1_with_its_reason_and_keeps_the_evaluation(
    tmp_path: Path, rows: Path, capsys: Capture
) -> None:
    output = tmp_path / "e.json"
    with served(ScriptedServicer(lambda text: "no")) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", output)
        outcome = run_leaf(capsys, "evaluate", *arguments, "--gate", "valid_rate>=0.9", "--gate", "median_seconds<=60")

    assert outcome.code == 1
    assert "valid_rate 0 is below 0.9" in outcome.out
    assert [gate["passed"] for gate in json.loads(output.read_text())["gates"]] == [False, True]


def test_the_base_models_evaluation_is_compared_with(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    base, own = tmp_path / "base.json", tmp_path / "own.json"
    with served(ScriptedServicer(lambda text: "no")) as server:
        run_leaf(capsys, "evaluate", "--validation", rows, "--student", server.address, "--output", base)
    with served(ScriptedServicer(AUTHOR)) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", own, "--baseline", base)
        outcome = run_leaf(capsys, "evaluate", *arguments, "--gate", "margin_over_base>=0.1", "--json")

    assert outcome.code == 0
    assert outcome.json["baseline"]["margin"] == pytest.approx(0.984375)


def test_a_program_of_the_default_store_is_named_by_its_digest_and_said(
    tmp_path: Path, rows: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_STORE", str(tmp_path / "store"))
    write_program(tmp_path / "program", product_owner_program(), {})
    digest = keep_program(tmp_path / "program", Store.open(str(tmp_path / "store"))).artifact.sha256
    with served(ScriptedServicer(AUTHOR)) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", tmp_path / "e.json")
        with_program = run_leaf(capsys, "evaluate", *arguments, "--program", f"sha256:{digest}")
        without = run_leaf(capsys, "evaluate", *arguments)

    assert (with_program.code, without.code) == (0, 0), with_program.err
    assert f"prompt program {digest}" in " ".join(with_program.out.split())
    assert "prompt the role's own" in " ".join(without.out.split())


def test_answers_kept_in_a_store_are_not_asked_for_again(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    servicer = ScriptedServicer(AUTHOR)
    with served(servicer) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", tmp_path / "e.json")
        for _ in range(2):
            assert run_leaf(capsys, "evaluate", *arguments, "--store", tmp_path / "store").code == 0

    assert len(servicer.requests) == len(INPUTS)


def test_an_unreachable_student_is_temporary_with_address_and_remedy(
    tmp_path: Path, rows: Path, capsys: Capture
) -> None:
    arguments = ("--validation", rows, "--student", "127.0.0.1:1", "--output", tmp_path / "e.json", "--wait", "0")

    outcome = run_leaf(capsys, "evaluate", *arguments)

    assert outcome.code == 75
    assert outcome.err.startswith("error: no student answers at 127.0.0.1:1")
    assert "serve-student" in outcome.err
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--grammar", "strict"),
        ("--gate", "beauty>=1"),
        ("--gate", "valid_rate"),
        ("--gate", "valid_rate>=much"),
        ("--gate", "valid_rate>=nan"),
        ("--role", "nobody"),
        ("--max-tokens", "0"),
        ("--concurrency", "65"),
        ("--concurrency", "2", "--gate", "median_seconds<=60"),
        ("--concurrency", "2", "--provider", "emulator"),
    ],
)
def test_a_wrong_option_is_usage(tmp_path: Path, rows: Path, capsys: Capture, wrong: tuple[str, ...]) -> None:
    arguments = ("--validation", rows, "--student", "127.0.0.1:1", "--output", tmp_path / "e.json")

    assert run_leaf(capsys, "evaluate", *arguments, *wrong).code == 2


def test_a_corrupt_validation_row_is_bad_data(tmp_path: Path, rows: Path, capsys: Capture) -> None:
    rows.write_text(rows.read_text() + "{broken\n")
    arguments = ("--validation", rows, "--student", "127.0.0.1:1", "--output", tmp_path / "e.json")

    outcome = run_leaf(capsys, "evaluate", *arguments)

    assert outcome.code == 65
    assert "rows.jsonl:4" in outcome.err


def test_a_token_from_the_environment_opens_the_server(tmp_path: Path, rows: Path) -> None:
    with served(ScriptedServicer(AUTHOR), ServerConfig(port=0, token="right")) as server:
        arguments = ("evaluate", "--validation", rows, "--student", server.address, "--output", tmp_path / "e.json")
        refused = end_leaf(start_leaf(*arguments, STILLHOUSE_TOKEN="wrong"))
        let_in = end_leaf(start_leaf(*arguments, STILLHOUSE_TOKEN="right"))

    assert refused.code == 65
    assert "Traceback" not in refused.err
    assert let_in.code == 0, let_in.err


def test_ctrl_c_ends_an_evaluation_with_130_and_no_traceback(tmp_path: Path, rows: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def slow(text: str) -> str:
        reached.set()
        go_on.wait(30)
        return AUTHOR(text)

    with served(ScriptedServicer(slow)) as server:
        arguments = ("--validation", rows, "--student", server.address, "--output", tmp_path / "e.json")
        process = start_leaf("evaluate", *arguments)
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        go_on.set()
        outcome = end_leaf(process)

    assert outcome.code == 130
    assert "Traceback" not in outcome.err


def test_chat_with_a_pipe_streams_the_answer_and_then_says_what_it_is_worth() -> None:
    said = f"{INPUTS[0]['concept']}\n{REQUIREMENTS}\n\n{INPUTS[1]['concept']}\n{REQUIREMENTS}"
    with served(ScriptedServicer(AUTHOR)) as server:
        outcome = end_leaf(start_leaf("chat", server.address), said)

    assert outcome.code == 0, outcome.err
    assert outcome.out.count("product_name: Day Pages") == 2
    assert outcome.err.count("score 1.000, valid, ") == 2


def test_a_bad_answer_is_shown_with_its_problems() -> None:
    with served(ScriptedServicer(lambda text: "I would rather not.")) as server:
        outcome = end_leaf(start_leaf("chat", server.address), f"A diary\n{REQUIREMENTS}")

    assert "I would rather not." in outcome.out
    assert "NOT VALID" in outcome.err
    assert "problem:" in outcome.err


def test_a_pipe_that_ends_before_the_requirements_is_an_error() -> None:
    with served(ScriptedServicer(AUTHOR)) as server:
        outcome = end_leaf(start_leaf("chat", server.address), "A diary\n")

    assert outcome.code == 65
    assert "requirements_yaml" in outcome.err


def test_free_chat_remembers_what_was_said() -> None:
    servicer = ScriptedServicer(lambda text: f"you said {text}")
    with served(servicer) as server:
        outcome = end_leaf(start_leaf("chat", server.address, "--free"), "one\ntwo\n")

    assert outcome.out == "you said one\nyou said two\n"
    assert [message.content for message in servicer.requests[1].chat.messages] == ["one", "you said one", "two"]


def test_chat_with_nobody_there_is_temporary() -> None:
    outcome = end_leaf(start_leaf("chat", "127.0.0.1:1"), "")

    assert outcome.code == 75
    assert outcome.err.startswith("error: no student answers at 127.0.0.1:1")


def test_chat_with_a_gguf_file_starts_a_server_and_ends_it(tmp_path: Path) -> None:
    model = tiny_gguf(tmp_path)

    outcome = end_leaf(start_leaf("chat", model, "--free", "--max-tokens", "8"), "hello\n")

    assert outcome.code == 0, outcome.err
    assert "8 tokens in" in outcome.err


def test_a_served_gguf_file_is_evaluated_under_the_role_grammar(tmp_path: Path, rows: Path) -> None:
    server = start_leaf("serve-student", tiny_gguf(tmp_path), "--port", "0")
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip().rpartition(" on ")[2]
        arguments = ("--validation", rows, "--student", address, "--output", tmp_path / "e.json", "--max-tokens", "16")
        outcome = end_leaf(start_leaf("evaluate", *arguments))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)

    assert outcome.code == 0, outcome.err
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["cut_at_max_tokens"] == 3
    assert document["failed_rows"] == {}
    assert server.returncode in (0, 143)
