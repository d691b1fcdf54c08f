"""`stillhouse program show|diff|import`: optimised DSPy programs, as folders of program.json and metadata.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.choices import chosen_role

if TYPE_CHECKING:
    from stillhouse.programs.program import Json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Shows, compares and imports optimised programs.")

JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
StoreOption = Annotated[str | None, typer.Option("--store", metavar="URI", help="Object store of a digest or a run.")]
NAMED = "PROGRAM_DIR|sha256:HEX|RUN"


@app.command()
def show(
    program: Annotated[
        str, typer.Argument(metavar=NAMED, help="A folder or its program.json; kept in a store; what a run has made.")
    ],
    store: StoreOption = None,
    json_output: JsonOption = False,
) -> None:
    """Prints a program: instructions, fields, demos, settings; where it comes from, its scores and its trials.

    A program.json that is not the one its metadata describe is refused.
    """
    from stillhouse.cli.program_tables import show_program
    from stillhouse.cli.programs import named_program
    from stillhouse.cli.tables import console, print_json
    from stillhouse.programs.document import program_document, program_sha256

    read, metadata = named_program(program, store)
    if json_output:
        document = program_document(read)
        print_json({"program_sha256": program_sha256(read), "program": document, "metadata": metadata})
    else:
        show_program(console(), read, metadata)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=f"{NAMED}, as of show.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The program to compare with it.")],
    store: StoreOption = None,
    json_output: JsonOption = False,
) -> None:
    """Prints what changed from program A to program B; exit 1 where something did, as diff has it."""
    from dataclasses import asdict

    from stillhouse.cli.program_diff import show_difference
    from stillhouse.cli.programs import named_program
    from stillhouse.cli.tables import console, print_json
    from stillhouse.errors import EXIT_CHECK_FAILED
    from stillhouse.programs.difference import differences

    (old, old_metadata), (new, new_metadata) = named_program(before, store), named_program(after, store)
    found = differences(old, new)
    if json_output:
        print_json({"same": not found, **asdict(found)})
    else:
        show_difference(console(), found, {before: old_metadata, after: new_metadata})
    if found:
        raise typer.Exit(EXIT_CHECK_FAILED)


@app.command("import")
def import_program(
    components: Annotated[Path, typer.Argument(metavar="program_components.json", help="The original's program.")],
    output: Annotated[Path, typer.Option(help="The program's folder.")],
    role: Annotated[str, typer.Option("--role", help="The role whose program it is.")] = "product_owner",
) -> None:
    """Makes a program of the original's program_components.json, and says what that file lacks."""
    from hashlib import sha256

    from stillhouse.cli.files import read_file
    from stillhouse.cli.tables import remarks
    from stillhouse.programs.components import import_components
    from stillhouse.programs.folder import write_program

    chosen = chosen_role(role)
    data = read_file(components)
    program, lacking = import_components(data, chosen, source=str(components))
    metadata: dict[str, Json] = {
        "role": chosen.name,
        "imported_from": {"path": str(components), "sha256": sha256(data).hexdigest()},
        "lacking": [*lacking],
    }
    write_program(output, program, metadata)
    for line in lacking:
        remarks().print(f"warning: {line}", markup=False, soft_wrap=True)
    typer.echo(f"written to {output}")
