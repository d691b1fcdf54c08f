"""What faults do to a text: blocks go missing whole, quotes stay open."""

from __future__ import annotations

import json
from random import Random

import pytest
import yaml

from stillhouse.vertex_emulator.faults import cut_off, with_open_quote, without_last_block, without_last_property

BLOCKS = '```yaml A\none: "first"\nmany:\n- plain text\n- "quoted text"\n```\n```yaml B\ntwo: second thing\n```'


def test_the_last_block_goes_and_the_first_stays() -> None:
    assert without_last_block(BLOCKS) == BLOCKS[: BLOCKS.index("```yaml B")].strip()


def test_a_text_of_one_block_becomes_a_sentence() -> None:
    only = without_last_block("```yaml B\ntwo: second\n```")
    assert only
    assert "`" not in only


def test_a_text_without_blocks_is_left_alone() -> None:
    assert without_last_block("Tell me more.") == "Tell me more."
    assert with_open_quote("Tell me more.", Random(1)) == "Tell me more."
    assert without_last_property("Tell me more.") == "Tell me more."


def test_a_property_goes_whole() -> None:
    assert json.loads(without_last_property('{"a": {"b": 1}, "c": 2}')) == {"a": {"b": 1}}
    assert json.loads(without_last_property('{"a": 1}')) == {}


@pytest.mark.parametrize("seed", range(20))
def test_an_open_quote_breaks_one_block(seed: int) -> None:
    broken = with_open_quote(BLOCKS, Random(seed))
    blocks = [block.partition("\n")[2] for block in broken.split("```yaml ")[1:]]
    failed = 0
    for block in blocks:
        try:
            yaml.safe_load(block.rpartition("```")[0])
        except yaml.YAMLError:
            failed += 1
    assert failed == 1


@pytest.mark.parametrize("text", ['{"a": "b", "c": ["d"]}', '{"a": 1}', '{\n "a": "b"\n}'])
def test_an_open_quote_breaks_json(text: str) -> None:
    with pytest.raises(ValueError):
        json.loads(with_open_quote(text, Random(1)))


def test_what_is_cut_off_is_the_end() -> None:
    cut = cut_off(BLOCKS, Random(1))
    assert BLOCKS.startswith(cut)
    assert 0.25 * len(BLOCKS) < len(cut) < 0.95 * len(BLOCKS)
