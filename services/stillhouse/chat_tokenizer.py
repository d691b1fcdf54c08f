"""A base's tokenizer with its own chat template: what the trainer trains on and what every export is held against.

Called by the trainer and the exporter, which must render and tokenize alike. It knows no role.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillhouse.errors import FailedPrecondition
from stillhouse.roles.role import Message


class ChatTokenizer:
    """The tokenizer of a Hugging Face directory."""

    def __init__(self, directory: Path) -> None:
        """Raises FailedPrecondition when the directory holds no tokenizer with a chat template."""
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError, KeyError) as exc:
            raise FailedPrecondition(f"the base's tokenizer can't be loaded: {exc}", field="base") from exc
        if not self.tokenizer.chat_template:
            raise FailedPrecondition("the base has no chat template; choose its instruct variant", field="base")

    @property
    def end_of_turn(self) -> str:
        """The text of the token that ends an answer."""
        return str(self.tokenizer.eos_token or "")

    @property
    def pad_token_id(self) -> int:
        """What fills a row; never looked at, because attention and loss are masked."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id or 0)

    @property
    def added_prefix(self) -> str:
        """What the tokenizer itself puts before a text (a beginning-of-text token), as text."""
        ids = self.tokenizer("", add_special_tokens=True)["input_ids"]
        return str(self.tokenizer.bos_token) if ids and ids[0] == self.tokenizer.bos_token_id else ""

    def encode(self, text: str) -> list[int]:
        """Tokens of rendered text: special tokens are read as such, because the template writes them; none is added."""
        return list(self.tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def render(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """The messages in the chat template; with `generation_prompt` up to where the model starts to answer.

        A template without system turn gets the system message before the first user's, as llama.cpp does it
        (common/chat.cpp, system message not supported). Raises FailedPrecondition where it refuses the messages.
        """
        from jinja2 import TemplateError

        try:
            return self._apply(messages, generation_prompt=generation_prompt)
        except TemplateError as refusal:
            try:
                return self._apply(fold_system_message(messages), generation_prompt=generation_prompt)
            except TemplateError:
                raise FailedPrecondition(
                    f"the base's chat template refuses the prompt: {refusal}; choose another base", field="base"
                ) from refusal

    def _apply(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        rows = [{"role": message.role, "content": message.content} for message in messages]
        return str(self.tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=generation_prompt))


def fold_system_message(messages: Sequence[Message]) -> list[Message]:
    """The system message put before the first user message, where those are the first two."""
    if len(messages) < 2 or messages[0].role != "system" or messages[1].role != "user":
        return list(messages)
    return [Message("user", f"{messages[0].content}\n{messages[1].content}"), *messages[2:]]
