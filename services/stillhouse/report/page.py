"""A RunReport as one HTML file that needs nothing else: no network, no script to be read. Called by the command line.

All texts may come from a model: the templates escape, and the page's own policy lets only its own two blocks act.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.report import charts, diffs, words
from stillhouse.report.facts import Finding, FunnelStep, Histogram, LossPoint, Pace, RunReport, TextPair

_TEMPLATES = Path(__file__).parent / "templates"
# What HTML does not allow, and what would turn the direction of the text around it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Chart:
    """A drawing; `unseen` says what it shows to those who don't see it, `caption` what it doesn't show."""

    title: str
    caption: str
    svg: Markup
    unseen: str = ""


def render(report: RunReport) -> str:
    """The page. Draws the charts (a second or two)."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters.update(
        score=words.score,
        percent=words.percent,
        count=words.count,
        money=words.money,
        duration=words.duration,
        size=words.size,
        moment=words.moment,
        reason=words.reason,
        title=_title,
        tied=_tied,
    )
    style, script = (_part(name) for name in ("page.css.jinja", "page.js.jinja"))
    teaching = report.teaching
    return environment.get_template("page.html.jinja").render(
        report=report,
        plural=words.plural,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=_policy(style, script),
        funnel=_funnel(report.funnel),
        pace=_pace_charts(teaching.pace) if teaching is not None and teaching.pace is not None else (),
        histograms=[_histogram(histogram) for histogram in report.histograms],
        loss=_loss(report.losses),
        findings=_findings(report.findings),
        diff=_diff,
    )


def _part(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: nothing from anywhere, and of what is in the page only these two blocks."""
    digests = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _printable(value: object) -> object:
    """Jinja calls it for everything that is put out; markup is ours."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNPRINTABLE.sub("\ufffd", value)
    return value


def _title(name: str) -> str:
    """A field's name for a heading: `product_vision` is `Product vision`."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _tied(text: str) -> str:
    """With its unit on the line of its number."""
    return re.sub(r"(?<=\d) (?=\S+$)", "\u00a0", text)


def _funnel(steps: Sequence[FunnelStep]) -> list[tuple[FunnelStep, float]]:
    """Each with the width of its bar, of 100."""
    largest = max((step.count for step in steps), default=0) or 1
    return [(step, 100 * step.count / largest) for step in steps]


def _findings(lines: Sequence[Finding]) -> list[tuple[str, list[Finding], list[Finding]]]:
    """By kind: everybody's line over all rows, then by tier, one tier's lines together; empty tiers are left out."""
    tiers = list(dict.fromkeys(line.tier for line in lines if line.tier and line.found + line.missed + line.invented))
    return [
        (
            kind,
            [line for line in lines if line.kind == kind and not line.tier],
            [line for tier in tiers for line in lines if line.kind == kind and line.tier == tier],
        )
        for kind in dict.fromkeys(line.kind for line in lines)
    ]


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


def _diff(pair: TextPair) -> diffs.Diff:
    if pair.teacher is None:
        return diffs.one_sided(pair.student or "")
    return diffs.compare(pair.teacher, pair.student or "")
