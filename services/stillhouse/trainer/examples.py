"""Records to tokens: the prompt by the base's own chat template, labels on the answer and its end of turn only.

`training` calls it. A record that is too long is an error that names it; nothing is ever cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.dataset.records import DataRecord
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.roles.role import Message, Role

IGNORED = -100
"""Label of a position without loss, as torch's cross_entropy ignores it by default."""


@dataclass(frozen=True)
class TokenExample:
    """One record as token ids. `tokens[answer_start:]` is the answer with its end-of-turn token."""

    tokens: tuple[int, ...]
    answer_start: int

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.tokens)

    @property
    def answer_tokens(self) -> int:
        """Tokens that carry loss."""
        return len(self.tokens) - self.answer_start

    @property
    def labels(self) -> tuple[int, ...]:
        """One label a token: IGNORED on the prompt, the token itself on the answer."""
        return (IGNORED,) * self.answer_start + self.tokens[self.answer_start :]


def chat_example(tokenizer: ChatTokenizer, messages: Sequence[Message], answer: str) -> TokenExample:
    """Prompt and answer as tokens.

    The prompt's tokens are those of the prompt alone, as a server tokenizes it. Raises FailedPrecondition if the
    template does not continue its own generation prompt with the answer.
    """
    prompt = tokenizer.render(messages)
    whole = tokenizer.render([*messages, Message("assistant", answer)], generation_prompt=False)
    if not whole.startswith(prompt):
        raise FailedPrecondition(
            "the base's chat template does not start an answer where its generation prompt ends; "
            "choose another base or revision",
            field="base",
        )
    prompt_tokens = tokenizer.encode(prompt)
    tokens = tokenizer.encode(whole)
    if tokens[: len(prompt_tokens)] != prompt_tokens:
        tokens = prompt_tokens + tokenizer.encode(whole[len(prompt) :])
    return TokenExample(tuple(_to_end_of_turn(tokenizer, tokens, len(prompt_tokens))), len(prompt_tokens))


def tokenize_records(
    records: Iterable[DataRecord], *, role: Role, tokenizer: ChatTokenizer, max_length: int, source: str
) -> list[TokenExample]:
    """All records as tokens, in order.

    Raises InvalidArgument that names `source`, the record and its length where one has more than `max_length` tokens,
    FailedPrecondition where one lacks an output.
    """
    examples = []
    for number, record in enumerate(records, start=1):
        _check_outputs(record.outputs, role, f"{source}:{number}")
        example = chat_example(tokenizer, role.messages(record.inputs), role.answer_text(record.outputs))
        if example.length > max_length:
            raise InvalidArgument(
                f"{source}:{number} has {example.length} tokens ({example.answer_tokens} of them the answer), more "
                f"than training.max_length {max_length}; raise max_length or leave the record out. Its input: "
                f"{role.group_key(record.inputs)[:80]!r}",
                field="training.max_length",
            )
        examples.append(example)
    return examples


def _to_end_of_turn(tokenizer: ChatTokenizer, tokens: list[int], start: int) -> list[int]:
    """Without what a template writes after the end of turn (a line break): no server generates it."""
    special = set(tokenizer.tokenizer.all_special_ids)
    for end in range(len(tokens), start, -1):
        if tokens[end - 1] in special:
            return tokens[:end]
    if tokenizer.tokenizer.eos_token_id is None:
        raise FailedPrecondition("the base's tokenizer has no end-of-turn token", field="base")
    return [*tokens, int(tokenizer.tokenizer.eos_token_id)]


def _check_outputs(outputs: Mapping[str, str], role: Role, place: str) -> None:
    missing = [name for name in role.output_fields if not outputs.get(name, "").strip()]
    if missing:
        raise FailedPrecondition(f"{place} has no {missing[0]}; import the data set again", field="train")
