"""Templates filled in and closed in one file that needs nothing else: no network, no script to be read.

Called by the pages. Texts may come from a model: what is put in is escaped, and the page's own policy lets only its own
two blocks act.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.report import diffs, words
from stillhouse.report.facts import TextPair

_TEMPLATES = Path(__file__).parent / "templates"
# What HTML does not allow, and what would turn the direction of the text around it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def fill(template: str, **values: Any) -> str:
    """The page of that template."""
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
        signed=words.signed,
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
    environment.globals.update(plural=words.plural, sureness=words.sureness, diff=_diff)
    style, script = (_part(name) for name in ("page.css.jinja", "page.js.jinja"))
    return environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=_policy(style, script),
        **values,
    )


def _diff(pair: TextPair) -> diffs.Diff:
    if pair.left is None:
        return diffs.one_sided(pair.right or "")
    return diffs.compare(pair.left, pair.right or "")


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
