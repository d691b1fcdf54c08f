"""`stillhouse dataset check|split|stats|import|show|export`: data set files, without a Distillation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli import generate
from stillhouse.cli.choices import chosen_guards, chosen_role

if TYPE_CHECKING:
    from stillhouse.dataset.calls import CallFigures

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Checks, splits, counts, builds and shows data.")

DataArgument = Annotated[Path, typer.Argument(metavar="DATA.jsonl", help="Rows or data set records.")]
RoleOption = Annotated[str, typer.Option("--role", help="The role whose fields the rows have.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@app.command()
def check(
    data: DataArgument,
    against: Annotated[Path, typer.Option(help="The validation rows.")],
    role: RoleOption = "product_owner",
    json_output: JsonOption = False,
) -> None:
    """Finds inputs that the validation set holds as well; exit 1 if there are any. Near ones are only reported."""
    from dataclasses import asdict

    from stillhouse.cli.dataset_tables import show_contamination
    from stillhouse.cli.tables import console, print_json
    from stillhouse.dataset.files import check_contamination
    from stillhouse.errors import EXIT_CHECK_FAILED

    chosen = chosen_role(role)
    report = check_contamination(data, against, chosen)
    if json_output:
        print_json({**asdict(report), "contaminated": report.contaminated})
    else:
        show_contamination(console(), report, chosen.group_field)
    if report.contaminated:
        raise typer.Exit(EXIT_CHECK_FAILED)


@app.command()
def split(
    data: DataArgument,
    train: Annotated[Path, typer.Option(help="Rows to train on.")],
    validation: Annotated[Path, typer.Option(help="Rows held out.")],
    fraction: Annotated[float, typer.Option("--split", help="Fraction of the input groups to train on.")] = 0.85,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 42,
    role: RoleOption = "product_owner",
    json_output: JsonOption = False,
) -> None:
    """Divides a file by input group, never by row. Rows are written unchanged."""
    from dataclasses import asdict

    from stillhouse.cli.tables import console, print_json, rows_table
    from stillhouse.dataset.files import split_file

    chosen = chosen_role(role)
    if not 0 < fraction < 1:
        raise typer.BadParameter(f"{fraction:g} is not between 0 and 1", param_hint="--split")
    report = split_file(data, train=train, validation=validation, fraction=fraction, seed=seed, shape=chosen)
    if json_output:
        print_json(asdict(report))
        return
    rows = [
        [str(train), str(report.train_rows), str(report.train_groups)],
        [str(validation), str(report.validation_rows), str(report.validation_groups)],
    ]
    console().print(rows_table(["file", "rows", "groups"], rows))


@app.command()
def stats(
    data: DataArgument,
    role: RoleOption = "product_owner",
    rescore: Annotated[bool, typer.Option("--score", help="Score rows that carry no score.")] = False,
    target: Annotated[int, typer.Option(min=1, help="Records wanted: which threshold would give them.")] = 400,
    json_output: JsonOption = False,
) -> None:
    """Counts and scores: overall, by model, tier and label, by threshold; with its calls file, what the teacher did."""
    from stillhouse.cli.dataset_tables import show_calls, show_statistics
    from stillhouse.cli.tables import console, print_json
    from stillhouse.dataset.files import file_statistics
    from stillhouse.dataset.importing import Candidate
    from stillhouse.roles.scoring import score_record

    chosen = chosen_role(role)

    def own_score(candidate: Candidate) -> float:
        verdict = score_record(
            chosen, candidate.inputs, outputs=candidate.outputs, response=candidate.response, guards=()
        )
        return verdict.score

    found = file_statistics(data, chosen, score=own_score if rescore else None)
    calls = _calls_beside(data)
    if json_output:
        teacher = {} if calls is None else {"teacher": calls.as_json() | {"threshold": calls.threshold_for(target)}}
        print_json({**found.as_json(), **teacher})
        return
    show_statistics(console(), found.as_json())
    if calls is not None:
        show_calls(console(), calls.as_json())
        threshold = calls.threshold_for(target)
        verdict = "no threshold gives" if threshold is None else f"a threshold of {threshold:.2f} gives"
        console().print(f"{verdict} {target} records of the answers so far", highlight=False)


def _calls_beside(data: Path) -> CallFigures | None:
    from stillhouse.dataset.calls import read_calls
    from stillhouse.dataset.lines import lines_of
    from stillhouse.teacher_generator.data_files import DataFiles

    path = DataFiles(data).calls
    return read_calls(lines_of(path), source=path.name) if path.is_file() else None


@app.command("import")
def import_rows(
    rows: Annotated[list[Path], typer.Argument(metavar="ROWS.jsonl...", help="Recorded answers.")],
    output: Annotated[Path, typer.Option(help="Folder for train, tuning, validation and refused JSONL.")],
    validation: Annotated[Path | None, typer.Option(help="Validation rows; records they hold are refused.")] = None,
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0, help="Records below it are refused.")] = 0.8,
    guards: Annotated[str | None, typer.Option(help="Guards that refuse, by comma; default: all; none: '-'.")] = None,
    model: Annotated[str, typer.Option(help="The model that answered, for rows that name none.")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 42,
    fraction: Annotated[float | None, typer.Option("--split", help="Fraction to train on; 0.85, else 0.70.")] = None,
    min_records: Annotated[int, typer.Option(min=1)] = 1,
    role: RoleOption = "product_owner",
    store: Annotated[str | None, typer.Option(help="Object store for the data set.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Builds a data set: scores, guards, removes duplicates and contamination, splits."""
    from stillhouse.cli.dataset_import import ImportOptions, build, deliver
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks

    chosen = chosen_role(role)
    options = ImportOptions(
        rows=tuple(rows),
        validation=validation,
        min_score=min_score,
        guards=tuple(chosen_guards(chosen, guards)),
        model=model,
        seed=seed,
        train_fraction=fraction if fraction is not None else (0.85 if validation else 0.70),
        min_records=min_records,
    )
    opened = open_store(store)
    result = build(opened, chosen, options, screen=remarks())
    deliver(opened, result, output, json_output=json_output)


@app.command()
def show(
    data: DataArgument,
    row: Annotated[int, typer.Option(min=1, help="The first row to show, counted from 1.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 1,
    role: RoleOption = "product_owner",
    json_output: JsonOption = False,
) -> None:
    """Shows rows in full: inputs, answer, score, labels."""
    from itertools import islice

    from stillhouse.cli.dataset_tables import show_candidate
    from stillhouse.cli.tables import console, print_json
    from stillhouse.dataset.importing import read_candidates
    from stillhouse.dataset.lines import lines_of
    from stillhouse.errors import NotFound

    chosen = chosen_role(role)
    candidates = read_candidates(lines_of(data), source=data.name, shape=chosen, answered=False)
    found = list(islice(candidates, row - 1, row - 1 + count))
    if not found:
        raise NotFound(f"{data} has no row {row}")
    if json_output:
        print_json({"rows": [dict(candidate.row.values) for candidate in found]})
        return
    for candidate in found:
        show_candidate(console(), candidate)


@app.command("export")
def export_rows(
    data: DataArgument,
    output: Annotated[Path, typer.Option(help="File to write.")],
    form: Annotated[str, typer.Option("--format", help="chat (messages), flat (fields) or record.")] = "chat",
    role: RoleOption = "product_owner",
) -> None:
    """Writes the data for other tools: chat messages as trainers read them, flat fields, or records."""
    from stillhouse.cli.dataset_forms import FORMS
    from stillhouse.cli.files import write_lines
    from stillhouse.cli.tables import console
    from stillhouse.cli.training_rows import Tally, records_of

    chosen = chosen_role(role)
    if form not in FORMS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMS)}", param_hint="--format")
    tally = Tally()
    write_lines(output, (FORMS[form](record, chosen) for record in records_of(data, chosen, tally)))
    console().print(f"{output}: {tally}", markup=False, soft_wrap=True)


app.command("retry-failed")(generate.retry_failed)
