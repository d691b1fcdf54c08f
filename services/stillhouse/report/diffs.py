"""Two texts side by side: lines aligned, and within aligned lines the words that differ. Pure; called by the page.

Texts come from models and may be of any size; what is beyond the bounds is left out and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from itertools import zip_longest

MAX_CHARACTERS = 24_000
"""Of a text that is compared; a recorded answer has 4,000."""
MAX_LINES = 600
_MAX_PAIRINGS = 2_500
"""Larger blocks of changed lines are paired by their order alone."""
_ALIKE = 0.34
"""Share of common words from which two lines are one line that changed."""
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class Span:
    """A piece of a line; `differs` if the other side does not have it."""

    text: str
    differs: bool


Line = Sequence[Span]


@dataclass(frozen=True)
class DiffLine:
    """Two lines beside each other; None where that side has none there. `same` lines are equal."""

    left: Line | None
    right: Line | None
    same: bool = False


@dataclass(frozen=True)
class Diff:
    """`cut` says that one of the texts was longer than is compared."""

    lines: Sequence[DiffLine]
    cut: bool = False


def compare(left: str, right: str) -> Diff:
    """Aligns two texts by line and by word."""
    left_lines, left_cut = _bounded(left)
    right_lines, right_cut = _bounded(right)
    lines: list[DiffLine] = []
    matcher = SequenceMatcher(None, left_lines, right_lines, autojunk=False)
    for tag, left_start, left_end, right_start, right_end in matcher.get_opcodes():
        if tag == "equal":
            lines += [DiffLine(_plain(line), _plain(line), same=True) for line in left_lines[left_start:left_end]]
        else:
            lines += _changed(left_lines[left_start:left_end], right_lines[right_start:right_end])
    return Diff(tuple(lines), left_cut or right_cut)


def one_sided(text: str) -> Diff:
    """A text with nothing to compare it with, as the right side."""
    lines, cut = _bounded(text)
    return Diff(tuple(DiffLine(None, _plain(line)) for line in lines), cut)


def _bounded(text: str) -> tuple[list[str], bool]:
    lines = text[:MAX_CHARACTERS].splitlines()
    return lines[:MAX_LINES], len(text) > MAX_CHARACTERS or len(lines) > MAX_LINES


def _changed(left: Sequence[str], right: Sequence[str]) -> list[DiffLine]:
    """A block that differs: alike lines beside each other and, between them, what only one side has."""
    lines: list[DiffLine] = []
    left_at = right_at = 0
    for left_index, right_index in [*_pairs(left, right), (len(left), len(right))]:
        between = zip_longest(left[left_at:left_index], right[right_at:right_index])
        lines += [DiffLine(_different(ours), _different(theirs)) for ours, theirs in between]
        if left_index < len(left):
            lines.append(_word_diff(left[left_index], right[right_index]))
        left_at, right_at = left_index + 1, right_index + 1
    return lines


def _pairs(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """Which lines belong together, in order: the pairing of the largest total likeness (longest common subsequence)."""
    if len(left) * len(right) > _MAX_PAIRINGS:
        return [(index, index) for index in range(min(len(left), len(right)))]
    words = [[frozenset(re.findall(r"\w+", line)) for line in side] for side in (left, right)]

    @cache
    def likeness(row: int, column: int) -> float:
        ours, theirs = words[0][row], words[1][column]
        share = 2 * len(ours & theirs) / ((len(ours) + len(theirs)) or 1)
        return share if share >= _ALIKE else 0.0

    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for row in reversed(range(len(left))):
        for column in reversed(range(len(right))):
            together = likeness(row, column) + best[row + 1][column + 1] if likeness(row, column) else 0.0
            best[row][column] = max(together, best[row + 1][column], best[row][column + 1])
    pairs, row, column = [], 0, 0
    while row < len(left) and column < len(right):
        alike = likeness(row, column)
        if alike and best[row][column] == alike + best[row + 1][column + 1]:
            pairs.append((row, column))
            row, column = row + 1, column + 1
        elif best[row][column] == best[row + 1][column]:
            row += 1
        else:
            column += 1
    return pairs


def _word_diff(left: str, right: str) -> DiffLine:
    left_words, right_words = _WORDS.findall(left), _WORDS.findall(right)
    left_spans: list[Span] = []
    right_spans: list[Span] = []
    matcher = SequenceMatcher(None, left_words, right_words, autojunk=len(left_words) + len(right_words) > 2_000)
    for tag, left_start, left_end, right_start, right_end in matcher.get_opcodes():
        _append(left_spans, "".join(left_words[left_start:left_end]), differs=tag != "equal")
        _append(right_spans, "".join(right_words[right_start:right_end]), differs=tag != "equal")
    return DiffLine(tuple(left_spans), tuple(right_spans))


def _append(spans: list[Span], text: str, *, differs: bool) -> None:
    """Spaces between two words that differ differ with them: one mark reads better than five."""
    if not text:
        return
    if len(spans) > 1 and differs and spans[-1].text.isspace() and spans[-2].differs:
        space = spans.pop()
        text = spans.pop().text + space.text + text
    spans.append(Span(text, differs))


def _different(line: str | None) -> Line | None:
    """A line that the other side does not have; its indent is not marked."""
    if line is None:
        return None
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    return tuple(span for span in (Span(indent, differs=False), Span(text, differs=True)) if span.text)


def _plain(line: str) -> Line:
    return (Span(line, differs=False),)
