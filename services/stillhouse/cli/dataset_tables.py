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


def show_calls(screen: Console, document: Mapping[str, Any]) -> None:
    """What a teacher's calls came to, by model; `document` is CallFigures.as_json()."""
    models = {**document["by_model"]}
    if len(models) > 1:
        models["all"] = document["all"]
    rows = [
        [
            _cut(model, 28),
            number(int(made["calls"])),
            number(int(made["accepted"])),
            _percent(made["first_success_rate"]),
            _percent(made["missing_block_rate"]),
            _percent(made["repair_success_rate"]),
            _figure(made["score_mean"], "{:.3f}"),
            _figure(made["cost_usd"], "${:.4f}"),
            _figure(made["cost_per_400_usd"], "${:.2f}"),
            _figure(made["hours_per_400"], "{:.2f}"),
        ]
        for model, made in models.items()
    ]
    columns = ["teacher", "calls", "accepted", "first", "missing", "repaired", "mean", "cost", "cost/400", "h/400"]
    screen.print(rows_table(columns, rows))
    reasons = ", ".join(f"{count} {reason}" for reason, count in document["all"]["reasons"].items())
    if reasons:
        screen.print(f"calls whose answer was refused: {reasons}", highlight=False, markup=False, soft_wrap=True)
    screen.print()


def _percent(value: float | None) -> str:
    return _figure(value, "{:.0%}")


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


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
