"""What the dataset commands print. Knows documents and reports, no role's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from stillhouse.cli.tables import STATISTICS, facts_table, number, rows_table, statistics_row
from stillhouse.dataset.files import ContaminationReport
from stillhouse.dataset.importing import Candidate

_SHOWN_PAIRS = 10


def show_contamination(screen: Console, report: ContaminationReport, group_field: str) -> None:
    """The counts, every exact group and the nearest pairs."""
    rows = [
        ["data", str(report.rows), str(report.groups)],
        ["validation", str(report.validation_rows), str(report.validation_groups)],
        ["in both", str(report.exact_rows), str(len(report.exact_groups))],
        ["near only", str(report.near_rows), str(len(report.near_pairs))],
    ]
    screen.print(rows_table(["", "rows", f"distinct {group_field}"], rows))
    screen.print()
    if report.exact_groups:
        screen.print(rows_table([f"{group_field} in both"], [[_cut(key)] for key in report.exact_groups]))
        screen.print()
    if report.near_pairs:
        pairs = [
            [f"{pair.similarity:.2f}", _cut(pair.data_key), _cut(pair.validation_key)]
            for pair in report.near_pairs[:_SHOWN_PAIRS]
        ]
        screen.print(rows_table(["near", "data", "validation"], pairs, left=("data", "validation")))
        screen.print()
    if len(report.near_pairs) > _SHOWN_PAIRS:
        screen.print(f"and {len(report.near_pairs) - _SHOWN_PAIRS} more near pairs (--json has all)")
    verdict = "contaminated" if report.contaminated else "clean"
    screen.print(f"{verdict}: {report.exact_rows} of {report.rows} rows have an input of the validation set")


def show_statistics(screen: Console, document: Mapping[str, Any]) -> None:
    """The funnel, scores overall and by label, the table by threshold; `document` is DatasetStatistics.as_json()."""
    facts = [("rows", number(int(document["rows_read"]))), ("groups", number(int(document["groups"])))]
    facts += [(f"refused: {reason}", number(int(count))) for reason, count in document["refused"].items()]
    facts += [("kept", number(int(document["kept"])))]
    if document["unscored"]:
        facts += [("without a score", number(int(document["unscored"])))]
    screen.print(facts_table(facts))
    screen.print()
    lines = [statistics_row("all", document["scores"])]
    for label, values in document["by_label"].items():
        lines += [statistics_row(f"{label}={_cut(value, 40)}", scores) for value, scores in values.items()]
    screen.print(rows_table(["scores", *STATISTICS], lines))
    screen.print()
    if document["scores"]["count"]:
        thresholds = [
            [f">= {line['threshold']:.2f}", str(int(line["count"])), number(float(line["mean"]))]
            for line in document["by_threshold"]
        ]
        screen.print(rows_table(["score", "rows", "their mean"], thresholds))
        screen.print()


def show_candidate(screen: Console, candidate: Candidate) -> None:
    """One row in full."""
    screen.rule(candidate.row.place)
    facts = [(name, value) for name, value in candidate.labels.items()]
    if candidate.score is not None:
        facts.append(("score", f"{candidate.score:.4f}"))
    if facts:
        screen.print(facts_table(facts))
        screen.print()
    texts = {**candidate.inputs, **candidate.outputs}
    if not candidate.outputs and candidate.response is not None:
        texts["response"] = candidate.response
    for name, text in texts.items():
        screen.print(name, style="bold", markup=False)
        screen.print(text.rstrip(), markup=False, soft_wrap=True)


def _cut(text: str, length: int = 90) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
