"""Regular expressions as grammars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.gbnf import parse_grammar
from stillhouse.student_inference.gbnf_check import check_grammar
from stillhouse.student_inference.regex_grammar import regex_to_grammar

TRANSLATED = {
    r"\d{3}-[a-z]+": '[0-9]{3} "-" [a-z]+',
    r"^(yes|no)$": '("y" "e" "s" | "n" "o")',
    r"a.b": '"a" [^\\n] "b"',
    r"(?P<name>x)??": '("x")?',
    r"(?:ab)*?c": '("a" "b")* "c"',
    r"[]a]": "[\\x5Da]",
    r"[^\]\-\d]": "[^\\x5D\\x2D0-9]",
    r"\$\^\.": '"$" "^" "."',
    r"\\$": '"\\x5C"',
    r"é": '"\\xE9"',
    r"\x41\u00e9\n": '"A" "\\xE9" "\\x0A"',
    r"[\d-z]": "[0-9\\x2Dz]",
    r"\W": "[^0-9A-Za-z_]",
    "": '""',
}


@pytest.mark.parametrize(("pattern", "expected"), TRANSLATED.items())
def test_a_pattern_becomes_its_grammar(pattern: str, expected: str) -> None:
    grammar = regex_to_grammar(pattern)
    assert grammar == f"root ::= {expected}\n"
    check_grammar(grammar)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"a(?=b)", "look-around"),
        (r"(?i)a", "look-around"),
        (r"(a)\1", r"\1"),
        (r"\bfoo", r"\b"),
        (r"\p{L}", r"\p"),
        (r"a**", "two quantifiers"),
        (r"a+*", "two quantifiers"),
        (r"*a", "nothing to repeat"),
        (r"a{", "nothing to repeat"),
        (r"[a", "']' expected"),
        (r"(a", "')' expected"),
        (r"a)", "')' without '('"),
        (r"a^b", "'^'"),
        (r"(a$)", "'$'"),
        (r"[z-a]", "smaller"),
        (r"[a-\d]", "smaller"),
        (r"[\D]", r"\D"),
        (r"\x4", "hexadecimal"),
        ("\\", "\\"),
        ("(" * 100 + ")" * 100, "nested"),
        ("a" * 5000, "bytes"),
    ],
)
def test_what_is_not_in_the_subset_is_refused_by_name(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=r".") as caught:
        regex_to_grammar(pattern)
    assert reason in caught.value.message
    assert caught.value.field == "constraint.regex"


@given(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=40))
def test_any_pattern_is_a_grammar_or_refused(pattern: str) -> None:
    try:
        grammar = regex_to_grammar(pattern)
    except InvalidArgument:
        return
    if "{" not in pattern:
        parse_grammar(grammar)
