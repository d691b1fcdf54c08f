"""Figures and reasons in words for a reader of the report. Pure; knows no HTML and no store."""

from __future__ import annotations

import math
from datetime import datetime

REASONS = {
    "missing_block": "a block was missing",
    "malformed": "malformed",
    "low_score": "score too low",
    "length": "cut at the token limit",
    "blocked": "stopped by a safety filter",
    "recitation": "stopped as recitation",
    "empty": "empty",
    "balance": "its kind had enough records",
    "surplus": "more than the target",
    "duplicate": "duplicate",
    "contaminated": "its input is held out",
    "unparsable": "could not be read",
}
KINDS = {"first": "first answers", "repair": "repairs", "longer": "with more tokens"}
FIGURES = {
    "score_mean": "Mean score",
    "score_min": "Lowest score",
    "gap": "Gap to the teacher",
    "valid_rate": "Valid answers",
    "guard_rate": "Answers that pass the guards",
    "median_seconds": "Median seconds an answer",
    "margin_over_base": "Margin over the base model",
}
SHARES = frozenset({"gap", "valid_rate", "guard_rate"})
"""Figures that read best as per cent."""


def reason(code: str) -> str:
    """A refusal's reason: `low_score` is `score too low`, `guard:NAME` is `guard NAME`."""
    if code.startswith("guard:"):
        return f"guard {code.removeprefix('guard:').replace('_', ' ')}"
    return REASONS.get(code) or code.replace("_", " ") or "no reason given"


def figure(name: str, value: float) -> str:
    """A gate's figure as it is shown: 93.3 %, 0.931, 4.4 s."""
    if name in SHARES:
        return percent(value)
    return f"{value:.1f} s" if name == "median_seconds" else score(value)


def bound(name: str, *, lower: float | None, upper: float | None) -> str:
    """`at least 90.0 %`."""
    if lower is not None:
        return f"at least {figure(name, lower)}"
    return f"at most {figure(name, upper)}" if upper is not None else "none"


def score(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A fraction as per cent, 100 % only where it is all."""
    if value is None:
        return "–"
    text = f"{100 * value:.1f}"
    if text == "100.0":
        return "100 %" if value >= 1 else "99.9 %"
    return f"{text} %"


def signed(value: float) -> str:
    """Three digits with their sign: +0.293, −0.010."""
    return f"{value:+.3f}".replace("-", "\u2212")


def sureness(low: float, high: float) -> str:
    """What an interval of a difference says."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not clear"


def count(value: int) -> str:
    """With thin groups of three."""
    return f"{value:,}".replace(",", "\u202f")


def money(value: float) -> str:
    """US dollars in cents; less than a tenth of a dollar with two digits that count."""
    digits = 2 if value >= 0.1 or value <= 0 else min(1 - math.floor(math.log10(value)), 8)
    return f"US$ {value:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """`4.4 s`, `8 min 21 s`, `4 h 12 min`; a dash where it is unknown."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{count(minutes // 60)} h {minutes % 60} min"


def size(size_bytes: int) -> str:
    """`145 MB`, in decimal units."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def moment(at: datetime | None) -> str:
    """`2026-11-23 14:19 UTC`."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 gate`, `2 gates`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
