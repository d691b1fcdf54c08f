"""Teacher beside student on the best, the median and the worst held-out row. Called by `reading`.

Rows stream by twice: once for their scores, once for the three that are shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.dataset.lines import Row
from stillhouse.errors import InvalidArgument
from stillhouse.report.diffs import MAX_CHARACTERS
from stillhouse.report.facts import ComparedRow, NamedText, TextPair, Verdict
from stillhouse.report.teaching import number
from stillhouse.roles.role import load_role

_MAX_REMARKS = 20
_REMARK_CHARACTERS = 600
RowReader = Callable[[], Iterable[Row]]
Canonical = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Outputs in one notation, so that a diff shows what was said and not how it was quoted."""


@dataclass(frozen=True)
class Reference:
    """Where the teacher's answers stand: rows with `inputs` and either `answer` or `response`, and their title."""

    title: str
    rows: RowReader


def compared_rows(student: RowReader, references: Sequence[Reference], canonical: Canonical) -> tuple[ComparedRow, ...]:
    """The three rows, best first; fewer where there are fewer. The first of `references` that has an answer counts."""
    scores = array("d", (number(row.values, "score") for row in student()))
    places = _places(scores)
    picked = {index: dict(row.values) for index, row in enumerate(student()) if index in places.values()}
    wanted = {_key(values): None for values in picked.values()}
    answers: dict[tuple[tuple[str, str], ...], tuple[str, Mapping[str, Any]]] = {}
    for reference in references:
        for row in reference.rows() if len(answers) < len(wanted) else ():
            key = _key(row.values)
            if key in wanted and key not in answers and answer_of(row.values):
                answers[key] = (reference.title, dict(row.values))
    return tuple(
        _compared(place, picked[index], answers.get(_key(picked[index])), canonical) for place, index in places.items()
    )


def answer_of(values: Mapping[str, Any]) -> str:
    """The raw answer of an evaluated or recorded row; where only its outputs are kept, those."""
    for name in ("answer", "response"):
        if isinstance(values.get(name), str) and values[name]:
            return str(values[name])
    return "\n".join(_texts(values, "outputs").values())


def shorten(text: str, characters: int = MAX_CHARACTERS) -> str:
    """The text, or its beginning and how much is left out."""
    left = len(text) - characters
    return text if left <= 0 else f"{text[:characters]} … ({left} more characters)"


def _places(scores: Sequence[float]) -> dict[str, int]:
    """Which row is the best, the median and the worst; no row twice. Of equal ones the first."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    if len(order) == 1:
        return {"only": order[0]}
    picked = {"best": order[:1], "median": order[(len(order) - 1) // 2 :][:1], "worst": order[-1:]}
    if len(order) == 2:
        del picked["median"]
    return {place: index for place, found in picked.items() for index in found}


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """What an evaluated row says of its answer, shortened."""
    failure = row.get("failure")
    why = ""
    if isinstance(failure, dict):
        why = f"{failure.get('reason', '')}: {failure.get('message', '')}"
    guards = [
        f"guard {finding.get('guard', '')}: {finding.get('reason', '')}"
        for finding in row.get("guards") or ()
        if isinstance(finding, dict)
    ]
    problems = [str(problem) for problem in row.get("problems") or ()]
    return Verdict(
        score=number(row, "score"),
        seconds=number(row, "seconds"),
        valid=row.get("valid") is True,
        failure=shorten(why, _REMARK_CHARACTERS),
        remarks=tuple(shorten(remark, _REMARK_CHARACTERS) for remark in (*problems, *guards)[:_MAX_REMARKS]),
    )


def inputs_of(row: Mapping[str, Any]) -> tuple[NamedText, ...]:
    """What was asked, shortened."""
    return tuple(NamedText(name, shorten(text)) for name, text in _texts(row, "inputs").items())


def text_pairs(left: Mapping[str, Any], right: Mapping[str, Any], canonical: Canonical) -> tuple[TextPair, ...]:
    """Two answers to a row by output where both have the same ones, else whole; `left` may be empty."""
    before, after = (canonical(_texts(values, "outputs")) for values in (left, right))
    if after and (before.keys() == after.keys() or not left):
        return tuple(TextPair(name, before.get(name), text) for name, text in after.items())
    return (TextPair("answer", answer_of(left) or None, answer_of(right) or None),)


def canonical_of(role: str) -> Canonical:
    """The role's notation where outputs are valid and the role is installed here; else they stay as they are."""

    def canonical(outputs: Mapping[str, str]) -> Mapping[str, str]:
        try:
            return load_role(role).canonical(outputs)
        except InvalidArgument:
            return outputs

    return canonical


def _compared(
    place: str, row: Mapping[str, Any], reference: tuple[str, Mapping[str, Any]] | None, canonical: Canonical
) -> ComparedRow:
    return ComparedRow(
        place=place,
        row_id=str(row.get("id", "")),
        tier=str(row.get("tier") or ""),
        right=verdict_of(row),
        inputs=inputs_of(row),
        pairs=text_pairs(reference[1] if reference else {}, row, canonical),
        reference=reference[0] if reference else "",
    )


def _texts(values: Mapping[str, Any], name: str) -> dict[str, str]:
    found = values.get(name)
    return {str(key): text for key, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}


def _key(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(_texts(values, "inputs").items()))
