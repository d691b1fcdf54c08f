"""What the gates ask: texts for token parity, and teacher-forced prompts with answers for KL divergence.

Called by `export`. Knows roles only by their protocol, and nothing of torch or GGUF.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.dataset.records import DataRecord
from stillhouse.errors import FailedPrecondition
from stillhouse.roles.role import Message, Role

SEQUENCES = 4
POSITIONS_A_SEQUENCE = 12
MAX_SEQUENCE_TOKENS = 2048
RENDERED_TEXTS = 32
SYNTHESIZED_SEED = 20251
"""Seed of the role's examples where no rows are given; any fixed number does."""

DIGITS = ("0", "7", "12", "123", "1234", "99999", "1,234.56", "0x1F", "3.14159", "2025-11-03", "v1.10.2", "1e-4", "50%")
SPACES = ("", " ", "  ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", " \n ", "\n  - ", "        ", "\u00a0")
WORDS = ("Hello", "product", "Überprüfung", "naïve", "façade", "PRODUCT", "camelCase", "snake_case", "don't", "we'll")
SCRIPTS = (
    "日本語のテキスト",
    "中文測試",
    "한국어",
    "العربية",
    "עברית",
    "हिन्दी",
    "ไทย",
    "Ελληνικά",
    "Русский",
    "Tiếng Việt",
)
SYMBOLS = ("🙂", "👩‍👩‍👧", "🇩🇪", "👍🏽", "✅", "→", "€", "™", "½", "“quoted”", "…", "–", "\u200b", "e\u0301", "ﬁ", "𝔘")
PUNCTUATION = (
    "!",
    "...",
    "?!",
    "()",
    "[[",
    "{}",
    "<>",
    "&&",
    "||",
    "==",
    "!=",
    "->",
    "=>",
    "::",
    "//",
    "```",
    "---",
    "#",
    "'s",
)
SNIPPETS = (
    "```yaml VISION\nvision:\n  summary: 'A tool'\n  last_updated: '2025-11-03'\n```\n",
    '- id: FR-001\n  text: "The user can log in"\n  tags: [a, b, 3]\n',
    "key: |\n  block text\n    indented\n\n  end\n",
    'def f(x: int) -> str:\n    return f"{x:>10}"\n',
    "for (int i = 0; i < 10; ++i) { a[i] += 1; }",
    "SELECT * FROM t WHERE id = 42 AND name LIKE 'a%';",
    '{"a": [1, 2.5, null, true], "b": "\\n"}',
    '<div class="x">&amp; text</div>',
    "https://example.org/path?q=1&r=%20#frag",
    "C:\\Users\\name\\file.txt",
    "REQ-001, NFR012 and C-3: 99.95 % at 1000 requests/s",
    "a" * 100,
    "0123456789" * 8,
    " ".join(str(number) for number in range(60)),
)


Row = tuple[Sequence[Message], str]
"""A prompt and an answer to it."""


@dataclass(frozen=True)
class ForcedSequence:
    """Tokens of a prompt with its answer, and the answer positions that are compared."""

    tokens: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Probes:
    """Everything the gates ask of one export."""

    sequences: tuple[ForcedSequence, ...]
    texts: tuple[str, ...]
    text_tokens: tuple[tuple[int, ...], ...]
    """The training tokenizer's ids of `texts`."""
    rendered: int
    """So many of `texts`, the first, are the role's own prompts with answers."""


def synthesized_rows(role: Role) -> Iterator[Row]:
    """Prompts and answers of the role's own examples and scripted author."""
    for example in role.examples(count=RENDERED_TEXTS, seed=SYNTHESIZED_SEED):
        yield role.messages(example.inputs), role.author(example, seed=SYNTHESIZED_SEED)


def recorded_rows(role: Role, records: Iterable[DataRecord]) -> Iterator[Row]:
    """Prompts and answers of a data set's first records."""
    for record in itertools.islice(records, RENDERED_TEXTS):
        yield role.messages(record.inputs), role.answer_text(record.outputs)


def build_probes(
    chat: ChatTokenizer,
    rows: Iterable[Row],
    *,
    context_tokens: int,
    sequences: int = SEQUENCES,
    positions: int = POSITIONS_A_SEQUENCE,
) -> Probes:
    """Renders the rows as in training and picks positions evenly over each answer of the shortest rows.

    `context_tokens` is the base's context length. Raises FailedPrecondition where no prompt leaves room for an answer.
    """
    rendered: list[str] = []
    forced: list[ForcedSequence] = []
    limit = min(context_tokens, MAX_SEQUENCE_TOKENS)
    for messages, answer in rows:
        prompt, completion = chat.render(messages), answer + chat.end_of_turn
        rendered.append(prompt + completion)
        prompt_ids = chat.encode(prompt)
        tokens = (prompt_ids + chat.encode(completion))[:limit]
        if len(tokens) > len(prompt_ids):
            forced.append(ForcedSequence(tuple(tokens), _spread(len(prompt_ids), len(tokens), positions)))
    if not forced:
        raise FailedPrecondition(f"no probe row's prompt fits into {limit} tokens; give shorter rows to export")
    texts = (*rendered, *probe_texts())
    # The time of a gate is the time of reading these, three times over.
    shortest = sorted(forced, key=lambda sequence: len(sequence.tokens))[:sequences]
    return Probes(tuple(shortest), texts, tuple(tuple(chat.encode(text)) for text in texts), len(rendered))


def probe_texts() -> list[str]:
    """Some 400 distinct texts: each piece alone, and neighbours where tokenizers tend to differ."""
    pieces = [*DIGITS, *SPACES, *WORDS, *SCRIPTS, *SYMBOLS, *PUNCTUATION, *SNIPPETS]
    texts = list(pieces)
    for word, space, digit in itertools.product(WORDS[:5], SPACES[1:8], DIGITS[:4]):
        texts.append(f"{word}{space}{digit}")
    for left, right in itertools.product((*SCRIPTS[:5], *SYMBOLS[:5]), (*DIGITS[3:6], *PUNCTUATION[:5])):
        texts.append(f"{left}{right} {left}")
    for piece, mark in itertools.product((*WORDS, *DIGITS[:5]), PUNCTUATION[:5]):
        texts.append(f" {piece}{mark}\n")
    return list(dict.fromkeys(texts))


def _spread(start: int, end: int, count: int) -> tuple[int, ...]:
    """At most `count` positions of [start, end), the first and the last among them, evenly between."""
    span = end - 1 - start
    if span < count:
        return tuple(range(start, end))
    return tuple(start + round(span * index / max(count - 1, 1)) for index in range(count))
