import subprocess
import sys

import pytest
import typer

from stillhouse.cli.errors import as_usage, run_app
from stillhouse.errors import (
    Cancelled,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)

HEAVY = ("torch", "transformers", "dspy", "grpc", "peft", "xllamacpp", "obstore", "kubernetes", "kopf")


def run_raising(error: BaseException) -> int:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    return run_app(app, [])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgument("bad row"), 65),
        (NotFound("no file"), 65),
        (FailedPrecondition("not now"), 65),
        (DataLoss("torn"), 65),
        (Unavailable("away"), 75),
        (ResourceExhausted("full"), 75),
        (Cancelled("stopped"), 143),
        (StillhouseError("odd"), 65),
        (KeyboardInterrupt(), 130),
        (typer.Exit(1), 1),
        (typer.BadParameter("no such value"), 2),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert run_raising(error) == code


def test_an_error_is_one_line_on_stderr_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    run_raising(NotFound("no such file: rows.jsonl\nlook again"))

    captured = capsys.readouterr()
    assert captured.err == "error: no such file: rows.jsonl look again\n"
    assert captured.out == ""


def test_what_nobody_foresaw_keeps_its_traceback_and_is_permanent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(ZeroDivisionError("oops")) == 65
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_value_of_an_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def choose() -> None:
        with as_usage("--role"):
            raise InvalidArgument("unknown role 'nobody'")

    assert run_app(app, []) == 2
    assert "--role" in capsys.readouterr().err


def test_an_unknown_option_is_usage_and_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()
    app.command()(lambda: None)

    assert run_app(app, ["--wrong"]) == 2
    assert "--wrong" in capsys.readouterr().err


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    program = f"import sys; import stillhouse.cli.__main__;print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
