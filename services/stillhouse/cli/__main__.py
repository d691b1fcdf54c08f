"""The command line `stillhouse`: registers the commands. Each imports what it needs when it runs: --help is quick."""

from __future__ import annotations

import sys

import typer

from stillhouse.cli import report, setup, status
from stillhouse.cli import run as run_command
from stillhouse.cli.errors import run_app
from stillhouse.cli.leaves import register_leaves

app = typer.Typer(
    name="stillhouse",
    help="Distil a slow, paid teacher LLM into a small student that you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run_command.run)
app.command()(status.status)
app.command()(status.stop)
app.command()(report.report)
app.command()(setup.init)
app.command()(setup.validate)
app.command()(setup.doctor)
app.command()(setup.gc)
register_leaves(app)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(app))


if __name__ == "__main__":
    main()
