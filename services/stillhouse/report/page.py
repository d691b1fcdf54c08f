"""A RunReport as one HTML file. Called by the command line; `filling` makes it safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stillhouse.report import charts, words
from stillhouse.report.facts import FunnelStep, Histogram, LossPoint, Pace, RunReport
from stillhouse.report.filling import fill
from stillhouse.report.findings import by_kind


@dataclass(frozen=True)
class Chart:
    """A drawing; `unseen` says what it shows to those who don't see it, `caption` what it doesn't show."""

    title: str
    caption: str
    svg: Markup
    unseen: str = ""


def render(report: RunReport) -> str:
    """The page. Draws the charts (a second or two)."""
    teaching = report.teaching
    return fill(
        "page.html.jinja",
        report=report,
        funnel=_funnel(report.funnel),
        pace=_pace_charts(teaching.pace) if teaching is not None and teaching.pace is not None else (),
        histograms=[_histogram(histogram) for histogram in report.histograms],
        loss=_loss(report.losses),
        findings=by_kind(report.findings),
    )


def _funnel(steps: Sequence[FunnelStep]) -> list[tuple[FunnelStep, float]]:
    """Each with the width of its bar, of 100."""
    largest = max((step.count for step in steps), default=0) or 1
    return [(step, 100 * step.count / largest) for step in steps]


def _pace_charts(pace: Pace) -> Sequence[Chart]:
    last = pace.points[-1]
    span = pace.seconds * len(pace.points)
    calls, accepted = sum(point.calls for point in pace.points), sum(point.accepted for point in pace.points)
    minutes = span / 60
    done = f"{words.plural(calls, 'call')} and {words.count(accepted)} accepted in {words.duration(span)}"
    rates = f"{calls / minutes:.1f} and {accepted / minutes:.1f} a minute"
    return (
        Chart("Pace", f"{done}: {rates}.", Markup(charts.pace_chart(pace))),  # noqa: S704
        Chart("Cost", f"{words.money(last.cost_usd)} in all.", Markup(charts.cost_chart(pace))),  # noqa: S704
    )


def _histogram(histogram: Histogram) -> Chart:
    groups = "; ".join(charts.group_words(histogram, group) for group in histogram.groups)
    bound = histogram.shown_bound
    caption = "" if bound is None else f"The dashed line is the lowest score that is accepted, {bound:.2f}."
    return Chart(histogram.title, caption, Markup(charts.histogram_chart(histogram)), f"{groups}.")  # noqa: S704


def _loss(points: Sequence[LossPoint]) -> Chart | None:
    trained = [point.loss for point in points if point.loss is not None]
    tuned = [(point.tuning_loss, point.step) for point in points if point.tuning_loss is not None]
    if not trained:
        return None
    summary = f"Train loss from {trained[0]:.3f} to {trained[-1]:.3f}"
    if tuned:
        summary += f"; tuning loss from {tuned[0][0]:.3f} to {min(tuned)[0]:.3f}, its best, at step {min(tuned)[1]}"
    return Chart("Loss", f"{summary}.", Markup(charts.loss_chart(points)))  # noqa: S704
