from __future__ import annotations

from pathlib import Path

import pytest

from exported_tiny import tiny_base
from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.errors import FailedPrecondition
from stillhouse.exporter.probes import build_probes, probe_texts
from stillhouse.roles.role import Message

PROMPT = [Message("system", "Be exact."), Message("user", "Count to 1234.")]


@pytest.fixture(scope="module")
def chat() -> ChatTokenizer:
    return ChatTokenizer(tiny_base())


def test_several_hundred_distinct_texts_are_compared() -> None:
    texts = probe_texts()
    assert 300 < len(texts) == len(set(texts))


def test_positions_lie_in_the_answer_and_reach_its_end_of_turn(chat: ChatTokenizer) -> None:
    probes = build_probes(chat, [(PROMPT, "one two " * 40)], context_tokens=2048, positions=8)
    (sequence,) = probes.sequences
    start = len(chat.encode(chat.render(PROMPT)))
    assert sequence.positions[0] == start
    assert sequence.positions[-1] == len(sequence.tokens) - 1
    assert sequence.tokens[-1] == chat.tokenizer.eos_token_id
    assert len(set(sequence.positions)) == 8


def test_a_short_answer_gives_every_position(chat: ChatTokenizer) -> None:
    (sequence,) = build_probes(chat, [(PROMPT, "1")], context_tokens=2048).sequences
    assert len(sequence.positions) == 2


def test_the_roles_own_texts_come_first(chat: ChatTokenizer) -> None:
    probes = build_probes(chat, [(PROMPT, "1")], context_tokens=2048)
    assert probes.rendered == 1
    assert probes.texts[0] == chat.render(PROMPT) + "1<|im_end|>"


def test_prompts_that_fill_the_context_can_not_be_probed(chat: ChatTokenizer) -> None:
    with pytest.raises(FailedPrecondition, match="fits into 8 tokens"):
        build_probes(chat, [(PROMPT, "1")], context_tokens=8)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="tokenizer"):
        ChatTokenizer(tmp_path)
