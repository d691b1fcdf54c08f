"""Records to tokens: the prompt by the base's own chat template, labels on the answer and its end of turn only.

`training` calls it. A record that is too long is an error that names it; nothing is ever cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class ChatTokenizer:
    """A base's tokenizer together with its chat template."""

    def __init__(self, directory: Path) -> None:
        """Raises FailedPrecondition when the directory holds no tokenizer with a chat template."""
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError, KeyError) as exc:
            raise FailedPrecondition(f"the base's tokenizer can't be loaded: {exc}", field="base") from exc
        if not self._tokenizer.chat_template:
            raise FailedPrecondition("the base has no chat template; choose its instruct variant", field="base")

    @property
    def pad_token_id(self) -> int:
        """What fills a row; never looked at, because attention and loss are masked."""
        pad = self._tokenizer.pad_token_id
        return int(pad if pad is not None else self._tokenizer.eos_token_id or 0)

    def encode(self, text: str) -> list[int]:
        """Tokens of rendered text: the template writes the special tokens, so none are added."""
        return list(self._tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones included."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def prompt(self, messages: Sequence[Message]) -> str:
        """The rendered prompt, up to where the model starts to answer."""
        return self._render(messages, generation_prompt=True)

    def example(self, messages: Sequence[Message], answer: str) -> TokenExample:
        """Prompt and answer as tokens.

        The prompt's tokens are those of the prompt alone, as a server tokenizes it. Raises FailedPrecondition if the
        template does not continue its own generation prompt with the answer.
        """
        prompt = self.prompt(messages)
        whole = self._render([*messages, Message("assistant", answer)], generation_prompt=False)
        if not whole.startswith(prompt):
            raise FailedPrecondition(
                "the base's chat template does not start an answer where its generation prompt ends; "
                "choose another base or revision",
                field="base",
            )
        prompt_tokens = self.encode(prompt)
        tokens = self.encode(whole)
        if tokens[: len(prompt_tokens)] != prompt_tokens:
            tokens = prompt_tokens + self.encode(whole[len(prompt) :])
        return TokenExample(tuple(self._to_end_of_turn(tokens, len(prompt_tokens))), len(prompt_tokens))

    def _to_end_of_turn(self, tokens: list[int], start: int) -> list[int]:
        """Without what a template writes after the end of turn (a line break): no server generates it."""
        special = set(self._tokenizer.all_special_ids)
        for end in range(len(tokens), start, -1):
            if tokens[end - 1] in special:
                return tokens[:end]
        if self._tokenizer.eos_token_id is None:
            raise FailedPrecondition("the base's tokenizer has no end-of-turn token", field="base")
        return [*tokens, int(self._tokenizer.eos_token_id)]

    def _render(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        def render(chat: Sequence[Message]) -> str:
            rows = [{"role": message.role, "content": message.content} for message in chat]
            return str(
                self._tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=generation_prompt)
            )

        try:
            return render(messages)
        except TemplateError as exc:
            folded = fold_system_message(messages)
            if folded == list(messages):
                raise FailedPrecondition(f"the base's chat template refuses the prompt: {exc}", field="base") from exc
        return render(folded)


def fold_system_message(messages: Sequence[Message]) -> list[Message]:
    """The system message put before the first user message, for templates without a system turn.

    llama.cpp does the same with such templates (common/chat.cpp, system message not supported).
    """
    if len(messages) < 2 or messages[0].role != "system" or messages[1].role != "user":
        return list(messages)
    return [Message("user", f"{messages[0].content}\n{messages[1].content}"), *messages[2:]]


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
        example = tokenizer.example(role.messages(record.inputs), role.answer_text(record.outputs))
        if example.length > max_length:
            raise InvalidArgument(
                f"{source}:{number} has {example.length} tokens ({example.answer_tokens} of them the answer), more "
                f"than training.max_length {max_length}; raise max_length or leave the record out. Its input: "
                f"{role.group_key(record.inputs)[:80]!r}",
                field="training.max_length",
            )
        examples.append(example)
    return examples


def _check_outputs(outputs: Mapping[str, str], role: Role, place: str) -> None:
    missing = [name for name in role.output_fields if not outputs.get(name, "").strip()]
    if missing:
        raise FailedPrecondition(f"{place} has no {missing[0]}; import the data set again", field="train")
