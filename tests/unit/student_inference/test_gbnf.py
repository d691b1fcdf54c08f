"""Grammars: what is taken, and that what llama.cpp cannot survive is refused with its reason."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.gbnf import Characters
from stillhouse.student_inference.gbnf_check import check_grammar

GOOD = {
    "a comment and rules over lines": 'root ::= (\n  "a" |\n  b\n)\n# done\nb ::= [a-z]+ "\\n"\n',
    "an empty text": 'root ::= ""',
    "an optional tail": 'root ::= "a" tail?\ntail ::= "b" root',
    "counts": 'root ::= [0-9]{2} "-" [0-9]{1,4} [a-f]{3,}',
    "escapes": 'root ::= "\\x41\\u00e9\\U0001F600" [\\]\\[\\\\-]',
    "any character": "root ::= .",
    "all but one": "root ::= [^\\n]*",
    "nothing at all": "root ::= ",
    "a bounded repetition of what may be empty": 'root ::= ("a"?){2000}',
    "ways that are few enough": 'root ::= ("a"? | "b"?){0,10}',
    "control characters in a class": 'root ::= [^"\\\\\\x7F\\x00-\\x1F]',
    "white space that may be empty": 'ws ::= [ \\t]*\nroot ::= ws "a" ws "b"',
}
BAD = {
    "no root": ('foo ::= "a"', "root"),
    "an undefined rule": ("root ::= foo", "'foo'"),
    "left recursion": ('root ::= root "a" | "b"', "left recursion"),
    "left recursion over two rules": ("root ::= a\na ::= b?\nb ::= a", "left recursion"),
    "left recursion behind an empty item": ('root ::= "x"? root', "left recursion"),
    "deep brackets": ("root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, "nested"),
    "a huge count": ('root ::= "a"{1000000}', "2000"),
    "a count the wrong way round": ('root ::= "a"{3,2}', "smaller number first"),
    "a repeated empty text": ('root ::= ("a"*)*', "can be empty"),
    "branching without bound": (
        "root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(60)) + '\nr60 ::= "a"?',
        "10000 ways",
    ),
    "a chain of rules": (
        "root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1}" for i in range(5000)) + '\nr5000 ::= "a"',
        "begin with one another",
    ),
    "a chain of rules in brackets": (
        "root ::= r0\n" + "\n".join(f"r{i} ::= ((r{i + 1}))" for i in range(190)) + '\nr190 ::= "a"',
        "nested too deep",
    ),
    "stacked repetitions": ('root ::= "a"' + "?" * 5000, "nested too deep"),
    "too many ways to repeat what may be empty": ('root ::= ("a"? | "b"?){0,2000}', "10000 ways"),
    "a class of nothing": ('root ::= "a" []', "nothing can match"),
    "a class that leaves nothing": ("root ::= [^\\x01-\\U0010FFFF]", "nothing can match"),
    "a reversed range": ("root ::= [z-a]", "is empty"),
    "a NUL": ('root ::= "\\x00"', "U+0000"),
    "a raw NUL": ('root ::= "a" # \0', "NUL"),
    "a surrogate": ('root ::= "\\uD800"', "U+D800"),
    "a literal without end": ('root ::= "abc', "'\"'"),
    "a token reference": ("root ::= <think>", "single tokens"),
    "a rule twice": ('root ::= "a"\nroot ::= "b"', "twice"),
    "an open bracket": ('root ::= ("a"', "')' expected"),
    "a stray bracket": ('root ::= "a")', "unexpected ')'"),
    "a repetition of nothing": ("root ::= *", "nothing to repeat"),
    "another language": ("%llguidance {}\nstart: /a/", "line 1"),
    "an empty text": ("", "root"),
    "too many bytes": ("root ::= " + '"a" ' * 70_000, "bytes"),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_a_good_grammar_is_taken(text: str) -> None:
    assert isinstance(check_grammar(text), frozenset)


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_grammar_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=r".") as caught:
        check_grammar(text)
    assert reason in caught.value.message
    assert caught.value.field == "constraint.grammar"


def test_the_line_of_an_error_is_named() -> None:
    with pytest.raises(InvalidArgument, match="line 3"):
        check_grammar('root ::= a\n# a comment\na ::= "x\n')


def test_the_character_sets_are_found() -> None:
    assert check_grammar('root ::= [a-c] "d"') == {Characters(((97, 99),)), Characters(((100, 100),))}


def test_a_negated_class_is_everything_else() -> None:
    (found,) = check_grammar("root ::= [^b-y]")
    assert found == Characters(((1, 97), (122, 0xD7FF), (0xE000, 0x10FFFF)))


@given(st.text(alphabet='root:=ab "|()[]*+?{}12,-^.\\\n<>#', max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for grammar in (text, f"root ::= {text}"):
        with contextlib.suppress(InvalidArgument):
            check_grammar(grammar)
