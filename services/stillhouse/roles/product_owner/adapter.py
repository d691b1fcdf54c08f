"""Reads a model's answer: finds the two YAML blocks in whatever surrounds them, and gives their text back.

The role object and the DSPy adapter use it. It looks at lines and keys only: it loads no YAML, repairs no content and
invents none. One pass, linear in the length of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stillhouse.roles.product_owner.signature import BLOCK_LABELS, OUTPUT_KEYS, OUTPUT_NAMES
from stillhouse.roles.role import ParsedAnswer

MAX_ANSWER_CHARACTERS = 1_000_000
"""What comes after is not read. A recorded answer has at most 8,000."""

_OUTPUT_OF_KEY = {key: name for name in OUTPUT_NAMES for key in OUTPUT_KEYS[name]}
# Quantifiers are possessive where they could otherwise backtrack: an answer is untrusted and may be one long line.
_KEY = re.compile(r"( *+)([\"']?)(" + "|".join(_OUTPUT_OF_KEY) + r")\2 *+:(?: |$)")
_FENCE = re.compile(r" *+(?:`{2,}+|~{3,}+|`(?= *+(?:ya?ml|$))) *+([^`~]*+)$", re.IGNORECASE)
_LABEL = re.compile(r"(?:(?:ya?ml|json|text)\b)? *+[:_-]? *+(?:(?:vision|review)\b)? *+:? *+", re.IGNORECASE)
_BARE_LABEL = re.compile(
    r"(?:[#*`]++ *+)?(?:ya?ml +)?(?:product[ _]?)?(?:owner[ _]?)?(?:vision|review)[*`:]{0,6}+ *+$", re.IGNORECASE
)
_DOCUMENT_MARK = re.compile(r"(?:---|\.\.\.) *+$")
_YAML_LINE = re.compile(r"(?:- |-$|#|[\"']?\w[\w .-]{0,60}[\"']? *+:(?: |$))")
_RESERVED_VALUE = re.compile(r" *+(?:- ++)*+(?:[\"']?\w[\w .-]{0,60}[\"']?: ++)?`")


@dataclass
class _Chunk:
    """Lines between two boundaries (fences, labels, document marks). `fenced`: opened and closed by a fence."""

    lines: list[str] = field(default_factory=list)
    opened: bool = False
    fenced: bool = False


@dataclass
class _Found:
    """One candidate for an output: its lines and the top-level keys in them."""

    lines: list[str]
    keys: set[str]
    closed: bool


def parse(answer: str) -> ParsedAnswer:
    """The text of each output found in `answer`: verbatim but for its fence, its common indentation, line ends, tabs
    (two spaces) and the backticks of a value that starts with one, which YAML reserves. Never raises."""
    if not isinstance(answer, str):
        return ParsedAnswer({}, (f"the answer is no text but {type(answer).__name__}",))
    problems = []
    if len(answer) > MAX_ANSWER_CHARACTERS:
        problems.append(f"the answer is longer than {MAX_ANSWER_CHARACTERS} characters; the rest was not read")
    text = answer[:MAX_ANSWER_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "  ")
    candidates: dict[str, list[_Found]] = {name: [] for name in OUTPUT_NAMES}
    for chunk in _chunks(text.split("\n")):
        for name, found in _outputs_of(chunk):
            _add(candidates[name], found)
    outputs = {}
    for name, label in BLOCK_LABELS.items():
        if not candidates[name]:
            problems.append(f"there is no {label} block: no line starts with one of its keys")
            continue
        # The first of equals: a small model that does not stop repeats itself, and its last copy is cut off.
        best = max(candidates[name], key=lambda found: len(found.keys))
        outputs[name] = "\n".join(best.lines).strip("\n")
        if len(candidates[name]) > 1:
            problems.append(f"there are {len(candidates[name])} {label} blocks; the first with the most keys was read")
        if not best.closed:
            problems.append(f"the fence of the {label} block is not closed")
    return ParsedAnswer(outputs, tuple(problems))


def _chunks(lines: Iterable[str]) -> list[_Chunk]:
    chunks = [_Chunk()]
    for line in lines:
        if fence := _FENCE.match(line):
            # A fence closes what an earlier fence opened, and opens again if it has a label or nothing was open.
            was_open, label = chunks[-1].opened, fence[1].strip()
            chunks[-1].fenced = was_open
            rest = label[match.end() :] if (match := _LABEL.match(label)) else label
            chunks.append(_Chunk(lines=[rest] if rest else [], opened=bool(label) or not was_open))
        elif _DOCUMENT_MARK.match(line) or _BARE_LABEL.match(line):
            chunks.append(_Chunk(opened=chunks[-1].opened))
        elif line.rstrip().endswith("```") and line.count("```") == 1:
            chunks[-1].lines.append(line.rstrip().rstrip("`"))
            chunks[-1].fenced = chunks[-1].opened
            chunks.append(_Chunk())
        else:
            chunks[-1].lines.append(line)
    return chunks


def _outputs_of(chunk: _Chunk) -> list[tuple[str, _Found]]:
    """The outputs whose top-level keys a chunk holds; more than one where a fence between them is missing."""
    matches = [_KEY.match(line) for line in chunk.lines]
    first = next((index for index, match in enumerate(matches) if match), None)
    if first is None:
        return []
    indent = len(matches[first][1])  # type: ignore[index]
    keys = {index: match[3] for index, match in enumerate(matches) if match is not None and len(match[1]) == indent}
    end = len(chunk.lines) if chunk.fenced else _end_of_yaml(chunk.lines, first, indent)
    counts = {name: {key for key in keys.values() if _OUTPUT_OF_KEY[key] == name} for name in OUTPUT_NAMES}
    mixed = min(map(len, counts.values())) >= 2
    current = max(OUTPUT_NAMES, key=lambda name: len(counts[name]))
    parts: dict[str, list[str]] = {}
    for index in range(first, end):
        if mixed and index in keys:
            current = _OUTPUT_OF_KEY[keys[index]]
        parts.setdefault(current, []).append(_clean(chunk.lines[index], indent))
    closed = chunk.fenced or not chunk.opened
    return [
        (name, _Found(lines, counts[name] if mixed else set(keys.values()), closed)) for name, lines in parts.items()
    ]


def _end_of_yaml(lines: Sequence[str], first: int, indent: int) -> int:
    """Where prose begins after YAML that no fence closes: an unindented line after a blank one that looks like none."""
    for index in range(first + 1, len(lines)):
        line = lines[index]
        unindented = line[: indent + 1].strip() != "" and not lines[index - 1].strip()
        if unindented and not _YAML_LINE.match(line.lstrip()):
            return index
    return len(lines)


def _clean(line: str, indent: int) -> str:
    margin = len(line[:indent]) - len(line[:indent].lstrip(" "))
    line = line[margin:].rstrip()
    return line.replace("`", "") if _RESERVED_VALUE.match(line) else line


def _add(found: list[_Found], new: _Found) -> None:
    """Adds a candidate, or continues the last one where a stray fence cut it in two: their keys differ."""
    if found and not found[-1].keys & new.keys:
        found[-1].lines += new.lines
        found[-1].keys |= new.keys
        found[-1].closed = new.closed
    else:
        found.append(new)
