from __future__ import annotations

import json
from pathlib import Path

import pytest

from exported_tiny import tiny_base
from stillhouse.chat_tokenizer import ChatTokenizer, fold_system_message
from stillhouse.dataset.records import DataRecord
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.roles.role import Message, load_role
from stillhouse.trainer.examples import IGNORED, chat_example, tokenize_records
from training_fixture import ROLE, synthesized_records

CHAT = [Message("system", "Be brief."), Message("user", "How much is 12 + 30?")]
PROMPT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow much is 12 + 30?<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(tiny_base())


def test_the_prompt_is_the_chat_templates_up_to_the_answer(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.render(CHAT) == PROMPT


def test_labels_are_the_answer_and_its_end_of_turn_token_by_token(tokenizer: ChatTokenizer) -> None:
    example = chat_example(tokenizer, CHAT, "It is 42.")

    labelled = [tokenizer.decode([label]) for label in example.labels if label != IGNORED]
    assert labelled == ["It", " is", " ", "4", "2", ".", "<|im_end|>"]
    assert len(example.labels) == example.length
    assert tokenizer.decode(example.tokens) == PROMPT + "It is 42.<|im_end|>"
    assert example.labels.count(IGNORED) == example.answer_start == len(tokenizer.encode(PROMPT))


def test_digits_are_split_as_llama_cpp_splits_them(tokenizer: ChatTokenizer) -> None:
    assert [tokenizer.decode([token]) for token in tokenizer.encode("v2025")] == ["v", "2", "0", "2", "5"]


def test_every_record_ends_with_exactly_one_end_of_turn(tokenizer: ChatTokenizer) -> None:
    role = load_role(ROLE)
    records = synthesized_records(3)

    examples = tokenize_records(records, role=role, tokenizer=tokenizer, max_length=4096, source="train.jsonl")

    for example, record in zip(examples, records, strict=True):
        answer = tokenizer.decode(example.tokens[example.answer_start :])
        assert answer == role.answer_text(record.outputs) + "<|im_end|>"


def test_an_overlong_record_is_refused_with_its_place_and_length(tokenizer: ChatTokenizer) -> None:
    records = synthesized_records(3)
    role = load_role(ROLE)
    lengths = [
        example.length
        for example in tokenize_records(records, role=role, tokenizer=tokenizer, max_length=4096, source="train.jsonl")
    ]
    longest = lengths.index(max(lengths))

    with pytest.raises(InvalidArgument, match=f"train.jsonl:{longest + 1} has {max(lengths)} tokens") as caught:
        tokenize_records(records, role=role, tokenizer=tokenizer, max_length=max(lengths) - 1, source="train.jsonl")

    assert caught.value.field == "training.max_length"


def test_a_record_without_an_output_is_refused_by_its_place(tokenizer: ChatTokenizer) -> None:
    broken = DataRecord(synthesized_records(1)[0].inputs, {"product_vision": "a: b"})

    with pytest.raises(FailedPrecondition, match=r"train.jsonl:1 has no product_owner_review"):
        tokenize_records([broken], role=load_role(ROLE), tokenizer=tokenizer, max_length=4096, source="train.jsonl")


def with_template(directory: Path, template: str | None) -> ChatTokenizer:
    source = tiny_base()
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["chat_template"] = template
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    return ChatTokenizer(directory)


MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


def test_a_template_without_system_turn_gets_the_system_message_in_the_users(tmp_path: Path) -> None:
    tokenizer = with_template(tmp_path, MISTRAL)

    example = chat_example(tokenizer, CHAT, "42.")

    assert tokenizer.decode(example.tokens) == "[INST] Be brief.\nHow much is 12 + 30? [/INST] 42.<|im_end|>"
    assert tokenizer.decode(example.tokens[example.answer_start :]) == " 42.<|im_end|>"


def test_only_a_system_message_before_a_users_is_folded() -> None:
    assert fold_system_message([Message("user", "a")]) == [Message("user", "a")]


def test_a_base_without_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="no chat template"):
        with_template(tmp_path, None)


def test_a_template_that_rewrites_its_prompt_is_refused(tmp_path: Path) -> None:
    template = "{% if add_generation_prompt %}ask{% else %}{{ messages[-1]['content'] }}{% endif %}"

    with pytest.raises(FailedPrecondition, match="generation prompt"):
        chat_example(with_template(tmp_path, template), CHAT, "42.")


def test_a_template_that_refuses_every_prompt_is_refused_with_its_words(tmp_path: Path) -> None:
    template = "{{ raise_exception('only tools may speak') }}"

    with pytest.raises(FailedPrecondition, match="only tools may speak"):
        with_template(tmp_path, template).render(CHAT)
