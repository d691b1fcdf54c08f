"""Runs a typer application: errors as one line on stderr, exit codes as `stillhouse.errors` has them.

Called by the command line's main and by its tests; the commands raise StillhouseError and know no exit code.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError  # typer exports its own click's few

from stillhouse.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_PERMANENT,
    EXIT_USAGE,
    InvalidArgument,
    StillhouseError,
)


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Runs the application on those arguments (default: the process's) and returns its exit code.

    A StillhouseError becomes `error: ...` without a traceback; anything unforeseen keeps its traceback and exits 65.
    """
    command = typer.main.get_command(app)
    try:
        code = command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has had enough (`| head`); the interpreter would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except BaseException as exc:
        return _exit_code(exc)
    return code if isinstance(code, int) else EXIT_DONE


@contextmanager
def as_usage(option: str) -> Iterator[None]:
    """Within it an InvalidArgument is a wrong value of that option: usage, exit 2, rather than bad data, exit 65."""
    try:
        yield
    except InvalidArgument as exc:
        raise typer.BadParameter(exc.message, param_hint=option) from exc


def say_error(message: str) -> None:
    """One line on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _exit_code(exc: BaseException) -> int:
    match exc:
        case StillhouseError():
            say_error(exc.message)
            return exc.exit_code
        case KeyboardInterrupt() | typer.Abort():
            say_error("interrupted")
            return EXIT_INTERRUPTED
        case typer.Exit():
            return exc.exit_code
        case UsageError():
            _say_usage(exc)
            return EXIT_USAGE
        case ClickException():
            say_error(exc.format_message())
            return EXIT_USAGE
        case SystemExit():
            return exc.code if isinstance(exc.code, int) else EXIT_PERMANENT
        case _:
            traceback.print_exception(exc)
            say_error(f"unforeseen {type(exc).__name__}: {exc}; please report it with the lines above")
            return EXIT_PERMANENT


def _say_usage(exc: UsageError) -> None:
    if isinstance(exc, NoArgsIsHelpError):
        print(exc.format_message(), file=sys.stderr)
        return
    say_error(exc.format_message())
    if exc.ctx is not None:
        print(f"{exc.ctx.get_usage()}\nHelp: {exc.ctx.command_path} --help", file=sys.stderr)
