"""`stillhouse config set-role|show|rollback`: who answers for a role in other software's config.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from stillhouse.cli.errors import as_usage
from stillhouse.cli.role_config import FIELDS, Provider, RoleChange, check_base_url, check_model, masked, read_roles
from stillhouse.errors import FailedPrecondition, InvalidArgument

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Points the roles of other software's config.yaml at a student, and back at their teacher.",
)

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The file whose roles: section is meant.")]


@app.command("set-role")
def set_role(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Its name below roles:, such as product_owner.")],
    provider: Annotated[Provider, typer.Option(help="openai is the student's HTTP listener, grpc its gRPC port.")],
    model: Annotated[str, typer.Option(help="The model's name there.")],
    config: ConfigOption = Path("config.yaml"),
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="Default: what the role has.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Default: what the role has.")] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="HOST:PORT for grpc, else http(s)://. Default: none for vertex; else the role's while its provider "
            "stays, then http://localhost:11434 (ollama), localhost:50051 (grpc); openai needs it.",
        ),
    ] = None,
) -> None:
    """Sets who answers for a role.

    Only that role's values change: comments, order and every other byte of the file stay. A role or a roles: section
    that is missing is added at the end. What the file held is kept beside it as FILE.backup-N: `config rollback`
    brings back what it held before the last change, with --to what it held before an earlier one.
    """
    from stillhouse.cli.backups import replace_file
    from stillhouse.cli.files import read_file
    from stillhouse.cli.role_edits import set_role as edited

    _check_options(role, provider, model, temperature, base_url)
    change = RoleChange(provider, model, temperature, max_tokens, base_url)
    content = read_file(config)
    with _about(config):
        text = _decoded(content)
        before = read_roles(text)
        with _needing_base_url():
            changed = edited(text, role, change)
        after = read_roles(changed)
    if changed == text:
        typer.echo(f"{config} says so already; nothing is written")
        return
    backup = replace_file(config, changed.encode())
    _show_change(before.get(role, {}), after[role])
    typer.echo(f"{role} is {'set' if role in before else 'added'} in {config}; what it held is kept in {backup.name}")
    typer.echo(f"back with:  stillhouse config rollback --config {quote(str(config))}")


@app.command()
def show(
    config: ConfigOption = Path("config.yaml"),
    json_output: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Shows who answers for each role.

    Aliases and merge keys are followed. Of a role's other keys, an API key perhaps, nothing is shown, nor are the
    credentials and the query of an address.
    """
    from stillhouse.cli.files import read_file
    from stillhouse.cli.tables import console, print_json, rows_table

    with _about(config):
        roles = read_roles(_decoded(read_file(config)))
    if json_output:
        documents = {name: {**fields, "base_url": masked(fields["base_url"])} for name, fields in roles.items()}
        print_json({"config": str(config), "roles": documents})
        return
    if not roles:
        typer.echo(f"{config} has no roles")
        return
    rows = [[name, *(_shown(fields, field) for field in FIELDS)] for name, fields in roles.items()]
    console().print(rows_table(["role", *FIELDS], rows, left=("provider", "model", "base_url")), markup=False)


@app.command()
def rollback(
    config: ConfigOption = Path("config.yaml"),
    to: Annotated[
        str | None, typer.Option(metavar="N", help="An earlier change's backup: the N of FILE.backup-N, or that name.")
    ] = None,
    list_them: Annotated[
        bool, typer.Option("--list", help="Print the backups, the oldest first, and change nothing.")
    ] = False,
) -> None:
    """Brings back what the file held before the last change, or with --to before an earlier one.

    The file and its newest backup change places, so a second rollback undoes the first. With --to the file gets what
    that backup holds, and what it held becomes the newest backup; the older ones stay as they are.
    """
    from stillhouse.cli.backups import restore, restore_from

    if list_them:
        if to is not None:
            raise typer.BadParameter("--list changes nothing; leave --to out", param_hint="--list")
        _list_backups(config)
    elif to is None:
        backup = restore(config)
        typer.echo(f"{config} and {backup.name} have changed places; the same command undoes this")
    else:
        number = _backup_number(config, to)
        kept = restore_from(config, number)
        if kept is None:
            typer.echo(f"{config} holds the same already; nothing is written")
            return
        typer.echo(f"{config} holds again what backup {number} holds; what it held is kept in {kept.name}")
        typer.echo(f"back with:  stillhouse config rollback --config {quote(str(config))}")


def _backup_number(config: Path, backup: str) -> int:
    """The N of `N` or of `FILE.backup-N`. Raises BadParameter."""
    name = config.resolve().name
    digits = Path(backup).name.removeprefix(f"{name}.backup-")
    if not re.fullmatch(r"[0-9]{1,9}", digits):
        raise typer.BadParameter(f"{backup!r} is neither a number nor {name}.backup-N", param_hint="--to")
    return int(digits)


def _list_backups(config: Path) -> None:
    from stillhouse.cli.backups import backups_of
    from stillhouse.cli.files import existing_file
    from stillhouse.cli.tables import console, rows_table
    from stillhouse.report.words import moment

    backups = backups_of(existing_file(config))
    if not backups:
        typer.echo(f"{config} has no backups")
        return
    rows = [[each.name, moment(datetime.fromtimestamp(each.stat().st_mtime, UTC))] for each in backups]
    console().print(rows_table(["backup", "written"], rows, left=("written",)), markup=False)


def _check_options(role: str, provider: Provider, model: str, temperature: float | None, base_url: str | None) -> None:
    if not role.strip() or not role.isprintable():
        raise typer.BadParameter(f"{role!r} is no name of a role", param_hint="ROLE")
    with as_usage("--model"):
        check_model(model)
    if temperature is not None and not isfinite(temperature):
        raise typer.BadParameter(f"{temperature} is no temperature", param_hint="--temperature")
    if base_url is not None:
        with as_usage("--base-url"):
            check_base_url(provider, base_url)


@contextmanager
def _needing_base_url() -> Iterator[None]:
    try:
        yield
    except InvalidArgument as exc:
        if exc.field == "base_url":
            raise typer.BadParameter(exc.message, param_hint="--base-url") from exc
        raise


@contextmanager
def _about(config: Path) -> Iterator[None]:
    """Errors of what the file says name the file."""
    try:
        yield
    except (InvalidArgument, FailedPrecondition) as exc:
        raise type(exc)(f"{config}: {exc.message}") from exc


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise InvalidArgument(f"line {line}: no UTF-8, the encoding of YAML files; convert it first") from exc


def _show_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    from stillhouse.cli.tables import console, rows_table

    rows = [[field, _shown(before, field), _shown(after, field)] for field in FIELDS]
    console().print(rows_table(["", "before", "now"], rows, left=("before", "now")), markup=False)


def _shown(fields: Mapping[str, Any], field: str) -> str:
    value = fields.get(field)
    return "-" if value is None else str(masked(value) if field == "base_url" else value)
