"""What a model's vocabulary can spell."""

from __future__ import annotations

from pathlib import Path

import pytest

from gguf_fixture import tiny_gguf
from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.alphabet import Alphabet
from stillhouse.student_inference.gbnf_check import check_grammar
from stillhouse.student_inference.gguf_header import GgufHeader, read_header


def header(tokenizer: str, tokens: tuple[bytes, ...]) -> GgufHeader:
    return GgufHeader("llama", "", 0, 0, 0, tokenizer, tokens)


def test_facts_of_a_real_tokenizer_are_read(tmp_path: Path) -> None:
    found = read_header(tiny_gguf(tmp_path))
    assert (found.architecture, found.context_tokens, found.layers, found.tokenizer) == ("llama", 8192, 2, "gpt2")
    assert len(found.tokens) == 49152
    alphabet = Alphabet(found)
    alphabet.check(check_grammar('root ::= [a-z] "\\n" "é" "漢" "😀"'))
    with pytest.raises(InvalidArgument, match=r"U\+40000"):
        alphabet.check(check_grammar('root ::= "\\U00040000"'))
    with pytest.raises(InvalidArgument, match=r"U\+0004"):
        alphabet.check(check_grammar('root ::= "\\x04"'))


def test_a_class_needs_only_one_character_that_can_be_spelled() -> None:
    alphabet = Alphabet(header("llama", (b"a", b"<0x62>")))
    alphabet.check(check_grammar("root ::= [a-z] [b-c] [^x]"))
    with pytest.raises(InvalidArgument):
        alphabet.check(check_grammar("root ::= [c-z]"))


def test_characters_of_several_bytes_need_all_continuation_bytes() -> None:
    some = Alphabet(header("llama", (b"<0xC3>", b"<0xA9>")))
    with pytest.raises(InvalidArgument):
        some.check(check_grammar('root ::= "é"'))
    all_bytes = tuple(f"<0x{byte:02X}>".encode() for byte in range(256))
    Alphabet(header("llama", all_bytes)).check(check_grammar('root ::= "é" "\\U0010FFFF"'))


def test_a_word_border_spells_a_blank() -> None:
    Alphabet(header("llama", ("\u2581".encode(),))).check(check_grammar('root ::= " "'))
