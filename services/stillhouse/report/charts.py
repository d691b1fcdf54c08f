"""The charts of a report as static SVG, drawn with Altair and vl-convert. Called by `page`; knows no run and no HTML.

Static, because all vega would make every report 1 MB larger; tooltips are SVG titles. Colours are placeholders that
the page's style sheet replaces, so that one drawing serves dark, light and paper; SERIES are the placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert

from stillhouse.report import words
from stillhouse.report.facts import Histogram, HistogramGroup, LossPoint, Pace

INK = "#a00000"
GRID = "#a00001"
SERIES = ("#a00011", "#a00012")
_DASHES = ([1, 0], [6, 4])
_WIDTH = 380
_FONT = "system-ui, sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_KEPT = frozenset(
    {
        "fill",
        "stroke",
        "stroke-width",
        "stroke-dasharray",
        "opacity",
        "fill-opacity",
        "transform",
        "d",
        "x2",
        "y2",
        "text-anchor",
        "font-size",
        "font-weight",
        "width",
        "height",
        "viewBox",
    }
)


def histogram_chart(histogram: Histogram) -> str:
    """A small histogram a group, one above the other on one scale, so that no colour has to be told apart."""
    values = [
        {
            "group": group_words(histogram, group),
            "low": histogram.lower + index * histogram.width,
            "high": histogram.lower + (index + 1) * histogram.width,
            "count": count,
            "is_first": index == 0,
        }
        for group in histogram.groups
        for index, count in enumerate(group.counts)
    ]
    for value in values:
        value["said"] = f"{value['low']:.2f} to {value['high']:.2f}: {value['count']}"
    data = alt.InlineData(values=values)
    scale = alt.Scale(domain=[histogram.lower, 1], nice=False, zero=False)
    x = alt.X("low:Q", bin="binned", title="score", scale=scale, axis=_score_axis(histogram.lower))
    y = alt.Y("count:Q", title=None, axis=alt.Axis(tickCount=3, tickMinStep=1))
    bars = alt.Chart(data).mark_bar(color=SERIES[0], binSpacing=1).encode(x=x, x2="high:Q", y=y, description="said:N")
    layers: list[Any] = [bars]
    if histogram.shown_bound is not None:
        rule = alt.Chart(data).transform_filter("datum.is_first").mark_rule(color=INK, strokeDash=[3, 3])
        said = alt.value(f"accepted from {histogram.shown_bound:.2f}")
        layers.append(rule.encode(x=alt.datum(histogram.shown_bound), description=said))
    header = alt.Header(
        labelAnchor="start", labelFontSize=13, labelColor=INK, labelFont=_FONT, labelPadding=4, title=None
    )
    order = list(dict.fromkeys(str(value["group"]) for value in values))
    facets = (
        alt.layer(*layers, data=data)
        .properties(width=_WIDTH, height=64)
        .facet(facet=alt.Facet("group:N", header=header, sort=order, title=None), columns=1, spacing=12)
    )
    return _draw(facets)


def group_words(histogram: Histogram, group: HistogramGroup) -> str:
    """`gemini-2.5-pro: 12 answers, mean 0.912`."""
    return f"{group.name}: {words.plural(group.count, histogram.of.removesuffix('s'))}, mean {words.score(group.mean)}"


def pace_chart(pace: Pace) -> str:
    """Calls and accepted answers a minute."""
    minutes = pace.seconds / 60
    values = [
        {
            "at": _milliseconds(point.start),
            "line": line,
            "rate": count / minutes,
            "said": f"{point.start:%H:%M:%S}: {count / minutes:.1f} {line} a minute",
        }
        for point in pace.points
        for line, count in (("calls", point.calls), ("accepted", point.accepted))
    ]
    return _draw(_lines(values, ("calls", "accepted"), x=_time_axis(pace), y=alt.Y("rate:Q", title="a minute")))


def cost_chart(pace: Pace) -> str:
    """Dollars spent so far."""
    values = [
        {
            "at": _milliseconds(point.start),
            "cost": point.cost_usd,
            "said": f"{point.start:%H:%M:%S}: {words.money(point.cost_usd)}",
        }
        for point in pace.points
    ]
    y = alt.Y("cost:Q", title="US$ so far")
    area = (
        alt.Chart(alt.InlineData(values=values))
        .mark_area(color=SERIES[0], fillOpacity=0.2, line={"color": SERIES[0]})
        .encode(x=_time_axis(pace), y=y)
    )
    points = (
        alt.Chart(alt.InlineData(values=values))
        .mark_circle(size=30, color=SERIES[0])
        .encode(x=_time_axis(pace), y=y, description="said:N")
    )
    return _draw((area + points).properties(width=_WIDTH, height=200))


def loss_chart(points: Sequence[LossPoint]) -> str:
    """Train and tuning loss by step."""
    values = [
        {"step": point.step, "line": line, "loss": loss, "said": f"step {point.step}: {line} loss {loss:.4f}"}
        for point in points
        for line, loss in (("train", point.loss), ("tuning", point.tuning_loss))
        if loss is not None
    ]
    lines = tuple(dict.fromkeys(str(value["line"]) for value in values))
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    # Many small marks for the steps, which are close together; few large ones for the tuning rows.
    sizes = (40, 60) if len(points) <= 80 else (10, 60)
    return _draw(_lines(values, lines, x=x, y=alt.Y("loss:Q", title="nats a token"), sizes=sizes))


def _score_axis(lower: float) -> alt.Axis:
    """Ticks from 1 downwards, as many as there is room for."""
    tick = next(tick for widest, tick in ((0.1, 2), (0.3, 5), (0.5, 10), (1.0, 20)) if 1 - lower <= widest + 1e-9)
    values = [value / 100 for value in range(100, round(100 * lower) - 1, -tick)]
    return alt.Axis(values=values, format=".2f", labelFlush=False)


def _lines(
    values: list[dict[str, Any]], lines: Sequence[str], *, x: alt.X, y: alt.Y, sizes: Sequence[int] = (40, 50)
) -> Any:
    """Two lines at most, told apart by dash and mark as well as by colour; `sizes` are the marks' areas."""
    data = alt.InlineData(values=values)
    color = alt.Color("line:N", scale=alt.Scale(domain=list(lines), range=list(SERIES)), legend=_legend(), title=None)
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=list(lines), range=list(_DASHES)), legend=None)
    shape = alt.Shape(
        "line:N", scale=alt.Scale(domain=list(lines), range=["circle", "diamond"]), legend=_legend(), title=None
    )
    drawn = alt.Chart(data).mark_line(strokeWidth=2).encode(x=x, y=y, color=color, strokeDash=dash)
    size = alt.Size("line:N", scale=alt.Scale(domain=list(lines), range=list(sizes)), legend=None)
    marks = (
        alt.Chart(data)
        .mark_point(filled=True, opacity=1)
        .encode(x=x, y=y, color=color, shape=shape, size=size, description="said:N")
    )
    return (drawn + marks).properties(width=_WIDTH, height=200)


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", symbolSize=80, symbolStrokeWidth=0, columnPadding=24)


def _time_axis(pace: Pace) -> alt.X:
    is_long = pace.seconds * len(pace.points) > 20 * 3600
    form = "%d %b %H:%M" if is_long else "%H:%M" if pace.seconds * len(pace.points) > 240 else "%H:%M:%S"
    axis = alt.Axis(tickCount=4, format=form, labelOverlap=True)
    return alt.X("at:T", title="time (UTC)", scale=alt.Scale(type="utc"), axis=axis)


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _draw(chart: Any) -> str:
    axis = {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "domainColor": GRID,
        "tickColor": GRID,
        "gridColor": GRID,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelFont": _FONT,
        "titleFont": _FONT,
    }
    legend = {"labelColor": INK, "labelFontSize": 13, "labelFont": _FONT}
    style = {
        "background": "transparent",
        "axis": axis,
        "legend": legend,
        "view": {"stroke": None},
        "axisX": {"grid": False},
    }
    # Nothing may be fetched while it is drawn; all data is inline.
    return _slim(vl_convert.vegalite_to_svg(chart.to_dict(), config=style, allowed_base_urls=[]))


def _slim(svg: str) -> str:
    """Vega's SVG without its scaffolding, marks titled with their description: a fifth of its size."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own renderer's output
    _clean(root)
    root.set("class", "chart")
    root.set("aria-hidden", "true")
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element) -> None:
    title = element.get("aria-label") if element.get("role") == "graphics-symbol" and len(element) == 0 else None
    for name in [name for name in element.attrib if name not in _KEPT]:
        del element.attrib[name]
    for name in ("d", "transform"):
        if name in element.attrib:
            element.set(name, re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", element.attrib[name]))
    if title is not None:
        ElementTree.SubElement(element, f"{{{_SVG}}}title").text = title
    for child in list(element):
        empty = child.tag.endswith("}path") and child.get("fill") is None and child.get("stroke") is None
        _clean(child)
        hollow = child.tag.endswith("}g") and len(child) == 0
        if empty or hollow:
            element.remove(child)
