"""A Comparison as one HTML file, with answers side by side. Called by `stillhouse compare`; draws no charts."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.report.answers import AnswersBeside
from stillhouse.report.differences import Compared, Comparison
from stillhouse.report.facts import Contender
from stillhouse.report.filling import fill
from stillhouse.report.findings import by_kind, findings_of
from stillhouse.report.words import plural


def render_comparison(comparison: Comparison, answers: Sequence[AnswersBeside] = ()) -> str:
    """The page; without `answers` the figures alone."""
    lines = [line for one in comparison.compared for line in findings_of(one.evaluation, who=one.name)]
    return fill(
        "comparison.html.jinja",
        comparison=comparison,
        contenders=[_contender(one) for one in comparison.compared],
        findings=by_kind(lines),
        answers=answers,
    )


def _contender(one: Compared) -> Contender:
    made = one.evaluation
    failed = f"; {plural(made.failed, 'row')} without an answer" if made.failed else ""
    return Contender(
        one.name,
        f"{made.asked}{failed}",
        made.scores.count,
        made.scores.mean,
        made.scores.std,
        made.scores.min,
        made.valid_rate,
        made.guard_rate,
        made.median_seconds,
        made.cost_usd_per_row,
    )
