"""An evaluation as tables. Called by `stillhouse evaluate`; reads the summary document only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from stillhouse.cli.tables import STATISTICS, facts_table, number, percent, rows_table, statistics_row

_REFERENCES = {
    "validation": "the teacher on the same rows",
    "dataset": "the mean of the teacher's records in the data set",
}


def show_evaluation(screen: Console, document: Mapping[str, Any], output: Path) -> None:
    """Scores, rates, seconds, comparison, gates."""
    lines = [statistics_row("all", document["scores"])]
    lines += [statistics_row(f"tier={tier}", scores) for tier, scores in document["by_tier"].items()]
    screen.print(rows_table(["scores", *STATISTICS], lines))
    screen.print()
    screen.print(facts_table(_facts(document)))
    screen.print()
    if document["gates"]:
        gates = [["passed" if gate["passed"] else "FAILED", gate["reason"]] for gate in document["gates"]]
        screen.print(rows_table(["gate", "reason"], gates, left=("reason",)))
        screen.print()
    screen.print(f"written to {output}", markup=False, soft_wrap=True)


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    count = int(document["scores"]["count"])
    grammar = "the role's grammar" if document["constraint"] == "role_grammar" else "no grammar"
    facts = [
        ("model", document.get("teacher") or document["model_sha256"] or "not named by the server"),
        ("held to", grammar),
        ("prompt", f"program {program}" if (program := document["program"]) else "the role's own"),
        ("valid", f"{round(document['valid_rate'] * count)} of {count} ({percent(document['valid_rate'])})"),
        ("without a guard", f"{round(document['guard_rate'] * count)} of {count} ({percent(document['guard_rate'])})"),
        ("median seconds", f"{document['median_seconds']:.2f} a sample, {_in_flight(document['concurrency'])}"),
        ("tokens/s", f"{number(float(document['tokens_per_second']), digits=1)} an answer"),
    ]
    if document["cut_at_max_tokens"]:
        facts.append(("cut", f"{document['cut_at_max_tokens']} answers at {document['sampling']['max_tokens']} tokens"))
    findings = document.get("findings", {})
    facts += [(kind, _finding(found)) for kind, found in findings.items() if kind != "by_tier"]
    facts += [(f"failed: {reason}", str(rows)) for reason, rows in document["failed_rows"].items()]
    facts += [(f"guard {name}", str(rows)) for name, rows in document["guard_counts"].items()]
    facts += [(f"part {name}", f"{points:.2f} points") for name, points in document["parts"].items()]
    if (reference := document["reference"]) is not None:
        source = _REFERENCES.get(reference["source"], reference["source"])
        facts.append(("gap", f"{percent(document['gap'])} of {reference['score']:.4f}, {source}"))
    if (baseline := document["baseline"]) is not None:
        facts.append(("base model", f"{baseline['mean']:.4f}; margin {baseline['margin']:+.4f}"))
    return facts


def _in_flight(requests: int) -> str:
    return "one request in flight" if requests == 1 else f"{requests} requests in flight"


def _finding(found: Mapping[str, Any]) -> str:
    """`12 of 15 planted found, 3 invented; precision 80.0 %, recall 80.0 %, F1 0.8000`; a dash for no figure."""
    rates = [f"{name} {'-' if found[name] is None else percent(found[name])}" for name in ("precision", "recall")]
    return (
        f"{found['found']} of {found['planted']} planted found, {found['invented']} invented; "
        f"{', '.join(rates)}, F1 {number(found['f1'])}"
    )
