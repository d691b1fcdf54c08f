"""`stillhouse init`, `validate`, `doctor` and `gc`: before a run, and after many."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.files import write_lines
from stillhouse.cli.run import FileArgument, SetOption, StoreOption, load_file
from stillhouse.cli.store import default_store_uri, open_store
from stillhouse.cli.tables import console, plain_table
from stillhouse.errors import EXIT_CHECK_FAILED, FailedPrecondition

if TYPE_CHECKING:
    from stillhouse.spec.models import DistillationSpec


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")] = Path("distillation.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented Distillation to start from."""
    if file.exists() and not force:
        raise FailedPrecondition(f"{file} exists; say --force to overwrite it")
    write_lines(file, [files("stillhouse.cli").joinpath("distillation.template.yaml").read_text(encoding="utf-8")])
    typer.echo(f"wrote {file}; next: stillhouse validate {file}, then stillhouse run {file}")


def validate(
    file: FileArgument,
    overrides: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file with all defaults filled in.")] = False,
) -> None:
    """Check a Distillation without running anything."""
    from stillhouse.controller.requests import training_options

    distillation = load_file(file, overrides)
    lora, training = training_options(distillation.spec)
    if as_json:
        typer.echo(json.dumps(distillation.model_dump(mode="json", by_alias=True), indent=1))
        return
    typer.echo(
        f"{file} is valid: role {distillation.spec.role}, {_teachers(distillation.spec)}"
        f"base {distillation.spec.student.base}, "
        f"LoRA rank {lora.rank} alpha {lora.alpha} on {', '.join(lora.target_modules)}, "
        f"{training.epochs} epochs at {training.learning_rate:g}"
    )


def _teachers(spec: DistillationSpec) -> str:
    stages = [
        stage.label if stage.import_ is not None else f"{stage.provider} {stage.model}" for stage in spec.teacher_stages
    ]
    return f"teacher {', then '.join(stages)}, " if stages else ""


def doctor(store: StoreOption = None) -> None:
    """Look whether a run can work on this machine.

    Disk, memory, processor, GPU, packages, store, credentials; exits 1 if a run would fail.
    """
    from stillhouse.cli.checks import Verdict, examine

    table = plain_table(3)
    checks = list(examine(store or default_store_uri()))
    styles = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "red"}
    for check in checks:
        table.add_row(check.verdict.value, check.name, check.finding, style=styles[check.verdict])
    console().print(table)
    if any(check.verdict is Verdict.BAD for check in checks):
        raise typer.Exit(EXIT_CHECK_FAILED)


def gc(
    store: StoreOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    older_than: Annotated[
        int, typer.Option("--older-than", min=0, metavar="SECONDS", help="Spare younger blobs.")
    ] = 86_400,
) -> None:
    """Delete blobs that nothing names any more.

    No manifest, answer, checkpoint or run.
    """
    from stillhouse.artifacts.collect import collect

    opened = open_store(store)
    collected = collect(opened, older_than_seconds=older_than, dry_run=dry_run)
    verb = "would delete" if dry_run else "deleted"
    typer.echo(f"{verb} {collected.blobs} blobs, {collected.bytes / 1e6:,.1f} MB, from {opened.uri}")
