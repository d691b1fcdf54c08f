"""`stillhouse optimize` as a user meets it: a student over gRPC or a teacher, a program folder, and every bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cli_leaves import Outcome, read_rows, run_leaf, write_rows
from program_folders import INSTRUCTIONS, demos, product_owner_program
from scripted_student_server import MODEL, ScriptedServicer, served
from stillhouse.artifacts.messages import unpack_as
from stillhouse.artifacts.store import Store
from stillhouse.programs.document import program_sha256
from stillhouse.programs.folder import write_program
from stillhouse.programs.program import Demo
from stillhouse.roles.role import Example, Message, load_role
from stillhouse.rpc.subprocesses import free_port
from stillhouse.v1.optimizer_pb2 import OptimizeRequest

ROLE = load_role("product_owner")
SMALL = ("--num-candidates", 2, "--num-trials", 2, "--max-bootstrapped-demos", 1, "--concurrency", 2)
Capture = pytest.CaptureFixture[str]


def author(text: str) -> str:
    inputs = ROLE.inputs_of([Message("user", text)])
    return "Write short, plain sentences." if inputs is None else ROLE.author(Example(inputs), seed=3)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("rows")
    inputs = [dict(example.inputs) for example in ROLE.examples(count=10, seed=8)]
    return write_rows(folder / "train.jsonl", *inputs[:4]), write_rows(folder / "validation.jsonl", *inputs[4:])


@pytest.fixture
def optimize(tmp_path: Path, rows: tuple[Path, Path], capsys: Capture) -> Callable[..., Outcome]:
    def run(*arguments: object, train: Path = rows[0], validation: Path = rows[1]) -> Outcome:
        named = ("--train", train, "--validation", validation, "--output", tmp_path / "program")
        return run_leaf(capsys, "optimize", *named, "--store", tmp_path / "store", *SMALL, *arguments)

    return run


@pytest.fixture
def student() -> ScriptedServicer:
    return ScriptedServicer(author)


def test_a_student_gets_a_program_which_its_evaluation_takes(
    optimize: Callable[..., Outcome],
    student: ScriptedServicer,
    rows: tuple[Path, Path],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    with served(student) as server:
        address = f"127.0.0.1:{server.port}"
        outcome = optimize("--student", address, "--json")
        assert outcome.code == 0, outcome.err
        held = {request.constraint.HasField("role_grammar") for request in student.requests}
        assert held == {True, False}, "the role's prompts are held to its grammar, proposals are not"
        asked = len(student.requests)
        again = optimize("--student", address, "--json")
        assert (again.code, again.json) == (0, outcome.json)
        assert len(student.requests) == asked, "what is done is done"
        evaluation = tmp_path / "evaluation.json"
        evaluated = run_leaf(
            capsys, "evaluate", "--validation", rows[1], "--student", address, "--output", evaluation,
            "--program", tmp_path / "program",
        )  # fmt: skip
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluation.read_text())["program"] == outcome.json["program_sha256"]
    metadata = json.loads((tmp_path / "program" / "metadata.json").read_text())
    assert metadata["models"]["task"] == f"stillhouse/sha256:{MODEL}/product_owner-grammar-1"
    assert (metadata["trainset_size"], metadata["valset_size"]) == (4, 6)
    assert metadata["difference"] == outcome.json["difference"]
    assert metadata["difference"]["rows"] == 6
    assert [trial["number"] for trial in metadata["trials"]] == list(range(outcome.json["trials"]))
    assert run_leaf(capsys, "program", "show", tmp_path / "program").code == 0


def test_a_teacher_is_optimised_for_by_its_provider_and_name(
    optimize: Callable[..., Outcome], rows: tuple[Path, Path], tmp_path: Path
) -> None:
    held_out = write_rows(tmp_path / "held_out.jsonl", *[dict(each.inputs) for each in ROLE.examples(count=2, seed=99)])
    models = ("--model", "emulator:gemini-2.5-flash", "--prompt-model", "emulator:gemini-2.5-pro")
    outcome = optimize(*models, "--held-out", held_out, "--thinking-budget", 64)
    assert outcome.code == 0, outcome.err
    assert "own prompt" in outcome.out
    assert "on the rows that chose the program" in " ".join(outcome.out.split())
    assert "stillhouse program show" in outcome.out
    (manifest,) = Store.open(str(tmp_path / "store")).manifests()
    request = unpack_as(manifest.request, OptimizeRequest)
    assert request.held_out.size_bytes == held_out.stat().st_size
    metadata = json.loads((tmp_path / "program" / "metadata.json").read_text())
    assert (metadata["held_out"]["path"], metadata["held_out"]["size"]) == (str(held_out), 2)
    assert request.max_tokens == 8192, "what a teacher needs to think"
    asked = [(model.max_output_tokens, model.thinking_budget) for model in (request.teacher, request.prompt_model)]
    assert asked == [(8192, 64), (8192, 64)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--student"),
        (("--student", "h:1", "--model", "emulator:m"), "--student"),
        (("--model", "granite4"), "PROVIDER:NAME"),
        (("--model", "nobody:granite4"), "--provider"),
        (("--model", "emulator:m", "--grammar", "role"), "--grammar"),
        (("--model", "emulator:m", "--optimizer", "copro"), "--optimizer"),
        (("--model", "emulator:m", "--temprature", "1"), "--temprature"),
        (("--model", "emulator:m", "--auto", "light"), "auto=light decides num_candidates"),
        (("--model", "emulator:m", "--metric-threshold", "0.5", "--metric", "score.py"), "--metric"),
        (("--model", "emulator:m", "--seed", 2**32), "--seed"),
        (("--model", "litellm:nobody/knows", "--max-cost-usd", 1), "--max-total-tokens"),
        (("--student", "h:1", "--demo-model", "litellm:nobody/knows", "--max-cost-usd", 1), "--max-calls"),
    ],
)
def test_wrong_usage_is_named_before_anything_is_started(
    optimize: Callable[..., Outcome], arguments: tuple[object, ...], said: str, tmp_path: Path
) -> None:
    outcome = optimize(*arguments)
    assert outcome.code == 2
    assert said in " ".join(outcome.err.split())
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--minibatch", "--minibatch-size", 7), "more than the 6 validation rows"),
        (("--metric", "leaf_metrics:failing"), "ZeroDivisionError: a bug of the user's"),
        (("--metric", "leaf_metrics:nothing"), "no function 'nothing'"),
        (("--max-calls", 3), "max_calls was reached before the role's own prompt was evaluated on 6 rows"),
    ],
)
def test_what_cannot_work_is_permanent_and_named(
    optimize: Callable[..., Outcome],
    arguments: tuple[object, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    outcome = optimize("--model", "emulator:gemini-2.5-flash", *arguments)
    assert outcome.code == 65, outcome.err
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_rows_in_both_sets_and_no_rows_are_refused(
    optimize: Callable[..., Outcome], rows: tuple[Path, Path], tmp_path: Path
) -> None:
    both = write_rows(tmp_path / "both.jsonl", *read_rows(rows[0]), read_rows(rows[1])[0])
    outcome = optimize("--model", "emulator:m", train=both)
    assert outcome.code == 65
    assert f"{rows[1]}: 1 of 6 rows have a concept that is in {both} too" in outcome.err.replace("\n", " ")
    empty = write_rows(tmp_path / "empty.jsonl")
    outcome = optimize("--model", "emulator:m", train=empty)
    assert outcome.code == 65
    assert "has no rows" in outcome.err


def test_rows_that_are_held_out_may_not_be_seen(
    optimize: Callable[..., Outcome], rows: tuple[Path, Path], tmp_path: Path
) -> None:
    seen = write_rows(tmp_path / "held_out.jsonl", read_rows(rows[1])[2])
    outcome = optimize("--model", "emulator:m", "--held-out", seen)
    assert outcome.code == 65
    assert f"1 of 1 rows have a concept that is in {rows[1]} too" in outcome.err.replace("\n", " ")
    outcome = optimize("--model", "emulator:m", "--held-out", tmp_path / "nowhere.jsonl")
    assert (outcome.code, "nowhere.jsonl" in outcome.err) == (65, True)


def test_rows_that_a_demo_gives_away_are_not_evaluated_on(
    rows: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    inputs = read_rows(rows[1])[0]
    outputs = ROLE.parse(ROLE.author(Example(inputs), seed=1)).outputs
    write_program(tmp_path / "program", product_owner_program(shown=[Demo({**inputs, **outputs})]), {})
    output = tmp_path / "evaluation.json"
    arguments = ("--validation", rows[1], "--output", output, "--program", tmp_path / "program")
    for asked in (("--student", "127.0.0.1:1", "--wait", 0), ("--provider", "emulator", "--store", tmp_path / "store")):
        outcome = run_leaf(capsys, "evaluate", *arguments, *asked)
        assert outcome.code == 65
        assert "the program's demos give away the answers of 1 of 6 validation rows" in outcome.err
        assert f": row 1 {inputs['concept'][:60]!r}; evaluate on other rows" in outcome.err
        assert not output.exists()


def test_a_model_that_says_nothing_ends_it_before_trials_are_spent(
    optimize: Callable[..., Outcome], tmp_path: Path
) -> None:
    mute = ScriptedServicer(lambda _: "")
    with served(mute) as server:
        outcome = optimize("--student", f"127.0.0.1:{server.port}", "--grammar", "none")
    assert outcome.code == 65
    assert "0 of 6 answers to the role's own prompt can be read" in outcome.err.replace("\n", " ")
    assert "no answer 6" in outcome.err
    assert len(mute.requests) == 6
    assert not (tmp_path / "program").exists()


def test_nobody_at_the_address_is_temporary(optimize: Callable[..., Outcome]) -> None:
    outcome = optimize("--student", f"127.0.0.1:{free_port()}", "--wait", 0)
    assert outcome.code == 75
    assert "no student answers" in outcome.err


def test_a_program_is_a_teachers_prompt_too(rows: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    program = product_owner_program(shown=demos(1))
    write_program(tmp_path / "program", program, {})
    asking = ("--provider", "emulator", "--program", tmp_path / "program", "--store", tmp_path / "store")
    evaluated = run_leaf(
        capsys, "evaluate", "--validation", rows[1], "--output", tmp_path / "evaluation.json", *asking, "--json"
    )
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["program"] == program_sha256(program)
    data = tmp_path / "data.jsonl"
    generated = run_leaf(
        capsys, "generate", "--concepts", rows[0], "--output", data, "--max-records", 2, "--faults", "none",
        "--latency", 0, *asking,
    )  # fmt: skip
    assert generated.code == 0, generated.err
    assert len(read_rows(data)) == 2
    answers = [json.loads(file.read_bytes()) for file in (tmp_path / "store" / "answers").rglob("*.json")]
    prompts = [[Message(**turn) for turn in json.loads(answer["query"]["prompt"])] for answer in answers]
    first = [prompt for prompt in prompts if ROLE.inputs_of(prompt) is not None]  # and not a repair
    assert first
    assert all(prompt[0].content.startswith(INSTRUCTIONS) and len(prompt) == 4 for prompt in first)


def test_another_roles_program_is_refused(rows: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    write_program(tmp_path / "program", replace(product_owner_program(), role="quiz"), {})
    arguments = ("--validation", rows[1], "--output", tmp_path / "evaluation.json", "--program", tmp_path / "program")
    outcome = run_leaf(capsys, "evaluate", *arguments, "--student", "127.0.0.1:1", "--wait", 0)
    assert outcome.code == 65
    assert "the program is of role quiz, not product_owner" in outcome.err
