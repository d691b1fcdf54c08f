"""Which answers of a comparison are shown beside the baseline's, and those answers. Called by `stillhouse compare`.

Rows stream by once; only those that are shown are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.dataset.paired import TIE
from stillhouse.errors import InvalidArgument
from stillhouse.report.comparison import Canonical, RowReader, inputs_of, text_pairs, verdict_of
from stillhouse.report.differences import Compared, Comparison, points_of
from stillhouse.report.facts import ComparedRow
from stillhouse.report.teaching import number

SHOWN_ROWS = 30
"""Of each evaluation: a page that opens at once. The largest losses and the largest gains, half and half."""


@dataclass(frozen=True)
class AnswersBeside:
    """One evaluation's answers beside the baseline's, the largest loss first."""

    name: str
    rows: Sequence[ComparedRow]
    left_out: int
    """Rows between the losses and the gains that are shown."""


def answers_beside(
    comparison: Comparison, rows: Mapping[str, RowReader], canonical: Canonical
) -> tuple[AnswersBeside, ...]:
    """Of every evaluation with `rows` but the baseline, whose rows must be among them.

    Raises InvalidArgument that names file and line, or the evaluation, where rows are not those of the evaluation.
    """
    shown = {one.name: _picked(one, comparison.baseline) for one in comparison.others if one.name in rows}
    wanted = {row for picked in shown.values() for row in picked}
    kept = {
        one.name: _kept(one, rows[one.name], shown.get(one.name, wanted))
        for one in comparison.compared
        if one.name in rows
    }
    theirs = kept[comparison.baseline.name]
    return tuple(
        AnswersBeside(
            one.name,
            tuple(_row(theirs[row], kept[one.name][row], canonical) for row in shown[one.name]),
            len(one.evaluation.rows) - len(shown[one.name]),
        )
        for one in comparison.others
        if one.name in shown
    )


def _picked(one: Compared, baseline: Compared) -> list[str]:
    ours, theirs = points_of(one.evaluation.rows), points_of(baseline.evaluation.rows)
    order = sorted(ours, key=lambda row: (ours[row] - theirs[row], row))
    if len(order) <= SHOWN_ROWS:
        return order
    return order[: SHOWN_ROWS // 2] + order[-SHOWN_ROWS // 2 :]


def _kept(one: Compared, read: RowReader, wanted: Sequence[str] | set[str]) -> dict[str, Mapping[str, Any]]:
    scores = {row.id: row.score for row in one.evaluation.rows}
    found: set[str] = set()
    kept: dict[str, Mapping[str, Any]] = {}
    for row in read():
        name = str(row.values.get("id", ""))
        if name not in scores or abs(number(row.values, "score") - scores[name]) > TIE:
            raise InvalidArgument(
                f"{row.place} is no row of evaluation {one.name}; name the file that --rows-output wrote with it"
            )
        found.add(name)
        if name in wanted:
            kept[name] = dict(row.values)
    if missing := scores.keys() - found:
        raise InvalidArgument(f"the rows of {one.name} lack {len(missing)} of {len(scores)}, {min(missing)} for one")
    return kept


def _row(left: Mapping[str, Any], right: Mapping[str, Any], canonical: Canonical) -> ComparedRow:
    before, after = verdict_of(left), verdict_of(right)
    gain = after.score - before.score
    return ComparedRow(
        place="win" if gain > TIE else "loss" if gain < -TIE else "tie",
        row_id=str(right["id"]),
        tier=str(right.get("tier") or ""),
        right=after,
        inputs=inputs_of(right),
        pairs=text_pairs(left, right, canonical),
        left=before,
    )
