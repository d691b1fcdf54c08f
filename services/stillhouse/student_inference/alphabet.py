"""Which characters a model's vocabulary can spell.

Called by the engine for every grammar: where a grammar comes to a place that no token fits, llama.cpp takes the end of
the answer for the next token and aborts the process. Knows no grpc.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.gbnf import LAST_CODE_POINT, Characters
from stillhouse.student_inference.gguf_header import GgufHeader

_BYTE_TOKEN = re.compile(rb"<0x([0-9A-F]{2})>")
_CONTINUATIONS = frozenset(range(0x80, 0xC0))


class Alphabet:
    """The characters that single-byte tokens can spell; longer tokens only make it faster."""

    def __init__(self, header: GgufHeader) -> None:
        """Reads the vocabulary of `header`."""
        spelled = _byte_level(header.tokens) if header.tokenizer == "gpt2" else _sentence_piece(header.tokens)
        self.ranges = tuple(_spellable(frozenset(spelled)))

    def check(self, sets: Iterable[Characters]) -> None:
        """Raises InvalidArgument (field `constraint`) where a set has no character that the model can spell."""
        for characters in sets:
            if not any(self._overlaps(first, last) for first, last in characters.ranges):
                first, last = characters.ranges[0]
                raise InvalidArgument(
                    f"the constraint asks for a character from U+{first:04X} to U+{last:04X}, "
                    "and this model's vocabulary can spell none of them",
                    field="constraint",
                )

    def _overlaps(self, first: int, last: int) -> bool:
        return any(first <= end and start <= last for start, end in self.ranges)


def _byte_level(tokens: Iterable[bytes]) -> Iterator[int]:
    """The bytes that are tokens, undoing GPT-2's table of printable stand-ins."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(printable)]
    bytes_by_character = {chr(byte): byte for byte in printable}
    bytes_by_character.update({chr(256 + place): byte for place, byte in enumerate(hidden)})
    for token in tokens:
        if len(token) <= 2 and (byte := bytes_by_character.get(token.decode("utf-8", "replace"))) is not None:
            yield byte


def _sentence_piece(tokens: Iterable[bytes]) -> Iterator[int]:
    """The bytes that are tokens, as `<0xE2>` or as themselves."""
    for token in tokens:
        match = _BYTE_TOKEN.fullmatch(token)
        if match is not None:
            yield int(match.group(1), 16)
        elif len(token) == 1:
            yield token[0]
        elif token == "\u2581".encode():
            yield ord(" ")


def _spellable(spelled: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Ranges of code points by their first byte in UTF-8, where all continuation bytes can be spelled."""
    for byte in range(1, 0x80):
        if byte in spelled:
            yield byte, byte
    if not spelled >= _CONTINUATIONS:
        return
    for byte in sorted(spelled):
        if 0xC2 <= byte <= 0xDF:
            yield (byte & 0x1F) << 6, ((byte & 0x1F) << 6) + 0x3F
        elif 0xE0 <= byte <= 0xEF:
            yield max((byte & 0x0F) << 12, 0x800), ((byte & 0x0F) << 12) + 0xFFF
        elif 0xF0 <= byte <= 0xF4:
            yield max((byte & 0x07) << 18, 0x10000), min(((byte & 0x07) << 18) + 0x3FFFF, LAST_CODE_POINT)
