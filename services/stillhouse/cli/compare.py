"""`stillhouse compare`: evaluations of the same rows beside the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stillhouse.dataset.lines import Row
    from stillhouse.report.differences import Comparison


def compare(
    evaluations: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=EVAL.json",
            help="Evaluations of the same rows by the same metric; the first is the baseline.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="The whole comparison as JSON.")],
    rows: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ROWS.jsonl", help="Answers for --page: what evaluate --rows-output wrote. Repeat it by NAME."
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The comparison as one HTML file, answers side by side.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="The comparison as JSON instead of tables.")] = False,
) -> None:
    """Compares evaluations of the same rows.

    Score, rates, F1, seconds and cost; paired difference with its interval, wins, ties and losses, by tier too.
    """
    from stillhouse.cli.comparison_tables import show_comparison
    from stillhouse.cli.files import json_text, write_together
    from stillhouse.cli.tables import console, print_json
    from stillhouse.report.differences import comparison_document

    files = _named(evaluations, "NAME=EVAL.json")
    if len(files) < 2:
        raise typer.BadParameter("name two evaluations or more, the baseline first", param_hint="NAME=EVAL.json")
    if page == output:
        raise typer.BadParameter(f"{page} is the comparison as JSON; name another file", param_hint="--page")
    answers = _answers(rows or (), files, page)
    comparison = _compared(files)
    drawn = None if page is None else _drawn(comparison, answers)
    document = comparison_document(comparison)
    drawings = {} if page is None or drawn is None else {page: drawn}
    write_together({output: json_text(document), **drawings})
    if json_output:
        print_json(document)
    else:
        show_comparison(console(), comparison, [output] if page is None else [output, page])


def _named(texts: Sequence[str], option: str) -> dict[str, Path]:
    """By name, in their order. Raises BadParameter."""
    found: dict[str, Path] = {}
    for text in texts:
        name, given, path = text.partition("=")
        if not (name.strip() and given and path):
            raise typer.BadParameter(f"{text!r} is not a name, an equals sign and a file", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"the name {name!r} is given twice", param_hint=option)
        found[name] = Path(path)
    return found


def _answers(texts: Sequence[str], evaluations: dict[str, Path], page: Path | None) -> dict[str, Path]:
    """The files of --rows. Raises BadParameter where nothing can be shown of them."""
    found = _named(texts, "--rows")
    if found and page is None:
        raise typer.BadParameter("answers are shown on a page; name it with --page", param_hint="--rows")
    if unknown := [name for name in found if name not in evaluations]:
        raise typer.BadParameter(f"there is no evaluation {unknown[0]!r}", param_hint="--rows")
    baseline = next(iter(evaluations))
    if found and (baseline not in found or len(found) < 2):
        raise typer.BadParameter(
            f"answers are shown beside the baseline's; give {baseline!r} and another", param_hint="--rows"
        )
    return found


def _compared(files: dict[str, Path]) -> Comparison:
    """Raises NotFound, PermissionDenied, and InvalidArgument that names the files that can't be compared."""
    from stillhouse.cli.files import read_file
    from stillhouse.report.differences import compare as compared
    from stillhouse.report.evaluations import check_comparable, read_evaluation

    read = {name: read_evaluation(read_file(path), source=str(path)) for name, path in files.items()}
    check_comparable({str(files[name]): evaluation for name, evaluation in read.items()})
    return compared(read)


def _drawn(comparison: Comparison, files: dict[str, Path]) -> str:
    """The page. Raises FailedPrecondition where its libraries are not installed, InvalidArgument on wrong rows."""
    from stillhouse.errors import FailedPrecondition
    from stillhouse.report.answers import answers_beside
    from stillhouse.report.comparison import canonical_of

    try:
        from stillhouse.report.comparison_page import render_comparison
    except ImportError as exc:
        raise FailedPrecondition(f"the page needs {exc.name}; install stillhouse[report]") from exc
    if not files:
        return render_comparison(comparison)
    readers = {name: partial(_rows, path) for name, path in files.items()}
    canonical = canonical_of(comparison.baseline.evaluation.role.name)
    return render_comparison(comparison, answers_beside(comparison, readers, canonical))


def _rows(path: Path) -> Iterator[Row]:
    from stillhouse.dataset.lines import lines_of, read_rows

    return read_rows(lines_of(path, source=str(path)), source=str(path))
