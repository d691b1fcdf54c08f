"""The command line `stillhouse`: registers the commands. Each imports what it needs when it runs: --help is quick."""

from __future__ import annotations

import sys

import typer

from stillhouse.cli import (
    chat,
    compare,
    concepts,
    config,
    dataset,
    evaluate,
    export,
    generate,
    logs,
    optimize,
    program,
    report,
    run,
    score,
    serve_student,
    setup,
    status,
    train,
    vertex_emulator,
)
from stillhouse.cli.errors import run_app

app = typer.Typer(
    name="stillhouse",
    help="Distil a slow, paid teacher LLM into a small student that you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run.run)
app.command()(status.status)
app.command()(logs.logs)
app.command()(status.stop)
app.command()(report.report)
app.command()(setup.init)
app.command()(setup.validate)
app.command()(setup.doctor)
app.command()(setup.gc)
app.command()(score.score)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(optimize.optimize)
app.command()(concepts.concepts)
app.command()(generate.generate)
app.add_typer(dataset.app, name="dataset")
app.add_typer(config.app, name="config")
app.add_typer(program.app, name="program")
app.command()(train.train)
app.command()(export.export)
app.command()(serve_student.serve_student)
app.command()(vertex_emulator.vertex_emulator)
app.command()(chat.chat)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(app))


if __name__ == "__main__":
    main()
