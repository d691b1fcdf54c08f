"""Teacher beside student, line by line and word by word."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.report.diffs import MAX_CHARACTERS, DiffLine, Span, compare, one_sided


def text(line: DiffLine, side: str) -> str | None:
    spans = getattr(line, side)
    return None if spans is None else "".join(span.text for span in spans)


def marked(line: DiffLine, side: str) -> list[str]:
    return [span.text for span in getattr(line, side) or () if span.differs]


def test_equal_texts_have_no_marks() -> None:
    lines = compare("a: 1\nb: 2", "a: 1\nb: 2").lines
    assert [line.same for line in lines] == [True, True]


def test_a_changed_word_is_marked_on_both_sides_and_the_rest_is_not() -> None:
    (line,) = compare("- fewer late calls", "- fewer lost calls").lines
    assert marked(line, "left") == ["late"]
    assert marked(line, "right") == ["lost"]
    assert line.left == (Span("- fewer ", differs=False), Span("late", differs=True), Span(" calls", differs=False))


def test_alike_lines_stand_beside_each_other_though_one_was_added_before_them() -> None:
    lines = compare("gaps:\n- the map has no owner\nend", "gaps:\n- entirely new\n- the map has an owner\nend").lines
    sides = [(text(line, "left"), text(line, "right")) for line in lines]
    assert sides == [
        ("gaps:", "gaps:"),
        (None, "- entirely new"),
        ("- the map has no owner", "- the map has an owner"),
        ("end", "end"),
    ]


def test_the_indent_of_a_line_that_only_one_side_has_is_not_marked() -> None:
    line = compare("a", "a\n    - new").lines[-1]
    assert line.right == (Span("    ", differs=False), Span("- new", differs=True))


def test_a_text_of_a_megabyte_is_cut_and_says_so() -> None:
    made = compare("word " * 200_000, "\n".join("ab" * 50_000))
    assert made.cut
    assert sum(len(text(line, "left") or "") for line in made.lines) <= MAX_CHARACTERS


def test_a_text_without_a_counterpart_has_no_marks() -> None:
    made = one_sided("a\nb")
    assert [(line.left, marked(line, "right")) for line in made.lines] == [(None, []), (None, [])]


LINES = st.lists(st.text(alphabet='ab- "é<', max_size=8), max_size=8).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(LINES, LINES)
def test_both_texts_can_be_read_off_their_diff(left: str, right: str) -> None:
    lines = compare(left, right).lines
    assert [found for line in lines if (found := text(line, "left")) is not None] == left.splitlines()
    assert [found for line in lines if (found := text(line, "right")) is not None] == right.splitlines()
