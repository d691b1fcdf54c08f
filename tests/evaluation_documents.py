"""EVAL.json and its rows as `stillhouse evaluate` writes them, made by the evaluator's functions without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stillhouse.dataset.lines import Row, json_line
from stillhouse.evaluator.figures import RowResult, evaluation_of
from stillhouse.evaluator.summary import Subject, comparison_document, json_bytes, row_document, summary_document
from stillhouse.roles.role import Detection

SUBJECT = Subject("product_owner", 1, "a" * 64, "b" * 64, "role_grammar", 768, 0.0, 42, "")
TIERS = ("corporate", "medium", "simple")


def result(number: int, score: float, **values: Any) -> RowResult:
    """A row of the tier of its number, with a planted gap that is found where the score is good."""
    found = score >= 0.5
    made = RowResult(
        row_id=f"{number:016x}",
        inputs={"concept": f"a shop for hats, number {number}"},
        labels={"tier": TIERS[number % len(TIERS)], "concept_id": str(number)},
        answer=f"hats and {'caps' if found else 'coats'}\nof shop {number}",
        score=score,
        valid=found,
        seconds=2.0 + number / 10,
        detections={"gaps": Detection(found=int(found), missed=int(not found))},
        finish_reason="stop",
    )
    return replace(made, **values)


def results(*scores: float) -> list[RowResult]:
    return [result(number, score) for number, score in enumerate(scores)]


def document(rows: Sequence[RowResult], *, subject: Subject = SUBJECT, **values: Any) -> dict[str, Any]:
    """EVAL.json; `values` replace or add fields, such as a teacher and what it cost."""
    made = evaluation_of(rows)
    compared = comparison_document(
        mean=made.scores.mean, gap=0.0, reference_score=None, reference_source="", baseline=None
    )
    return {**summary_document(subject, made, rows, compared, []), **values}


def evaluation_bytes(rows: Sequence[RowResult], **values: Any) -> bytes:
    return json_bytes(document(rows, **values))


def write_evaluation(path: Path, rows: Sequence[RowResult], **values: Any) -> Path:
    path.write_bytes(evaluation_bytes(rows, **values))
    return path


def write_answers(path: Path, rows: Sequence[RowResult]) -> Path:
    """ROWS.jsonl of those rows."""
    path.write_text("".join(json_line(row_document(row)) for row in rows), encoding="utf-8")
    return path


def reader(rows: Sequence[RowResult], source: str = "rows.jsonl") -> Callable[[], list[Row]]:
    """What reads ROWS.jsonl of those rows."""
    return lambda: [Row(row_document(row), source, line) for line, row in enumerate(rows, start=1)]


def edited(path: Path, **values: Any) -> Path:
    """That file with top fields replaced; None removes one."""
    kept: Mapping[str, Any] = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps({name: value for name, value in kept.items() if value is not None}), encoding="utf-8")
    return path
