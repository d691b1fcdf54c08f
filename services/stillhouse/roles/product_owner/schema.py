"""The two outputs as pydantic models, YAML text read safely into them, and the one canonical text of each.

The adapter, the guards, the grammar and the role object use it. Knows nothing of prompts, scores or DSPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner.signature import ALIGNMENT_KEYS, BLOCK_LABELS, REVIEW, VISION

MAX_ITEMS = 20
"""Items in a list; the recordings have at most 12."""
MAX_NAME_CHARACTERS = 120
MAX_ITEM_CHARACTERS = 600
"""Characters in a list item; the recordings have at most 400."""
MAX_TEXT_CHARACTERS = 1200
"""Characters in product_summary and narrative; the recordings have at most 665."""
Status = Literal["aligned", "needs_adjustment", "misaligned"]
STATUSES: tuple[str, ...] = get_args(Status)

MAX_YAML_CHARACTERS = 200_000
"""Longer text is not read at all. A recorded output has at most 4,000."""
MAX_EXPANDED_NODES = 200_000
"""Text whose aliases expand to more values than this is not read at all; 16 characters of text count as one value."""
_MAX_INTEGER_CHARACTERS = 4_300
"""Python itself refuses to convert longer decimals; other notations would take quadratic time."""

_UNWANTED = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_STATUS_SYNONYMS = {"conflicts": "misaligned", "conflict": "misaligned"}


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with a limit on what merge keys and integers may cost."""

    merged_pairs = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged_pairs += len(node.value)
        if self.merged_pairs > MAX_EXPANDED_NODES:
            raise yaml.constructor.ConstructorError(None, None, "merge keys expand too far", node.start_mark)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _MAX_INTEGER_CHARACTERS:
            raise yaml.constructor.ConstructorError(None, None, "integer is too long", node.start_mark)
        number: int = super().construct_yaml_int(node)
        return number


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_yaml_int)


def _expands_too_far(value: Any) -> bool:
    """Whether writing `value` out, shared parts each time anew as `str` does, passes MAX_EXPANDED_NODES."""
    waiting: list[Iterator[Any]] = [iter((value,))]
    open_ids: list[int] = [0]
    seen = 0
    while waiting:
        item = next(waiting[-1], waiting)
        if item is waiting:
            waiting.pop()
            open_ids.pop()
            continue
        seen += 1 + (len(item) // 16 if isinstance(item, str | bytes) else 0)
        if seen > MAX_EXPANDED_NODES:
            return True
        if isinstance(item, dict | list | tuple) and id(item) not in open_ids:
            parts = (part for pair in item.items() for part in pair) if isinstance(item, dict) else iter(item)
            waiting.append(parts)
            open_ids.append(id(item))
    return False


@lru_cache(maxsize=64)
def _load(text: str) -> tuple[Any, str]:
    """The value of YAML text and the reason why there is none; the value is shared: never change it."""
    if len(text) > MAX_YAML_CHARACTERS:
        return None, f"longer than {MAX_YAML_CHARACTERS} characters"
    try:
        # The pure loader, because libyaml accepts and refuses other texts than it does.
        value = yaml.load(text, Loader=_BoundedLoader)  # noqa: S506 - a subclass of the safe loader
    except Exception as error:  # a YAML error, but also ValueError (dates), RecursionError, OverflowError, ...
        return None, " ".join(str(error).split())[:300] or type(error).__name__
    if "*" in text and _expands_too_far(value):
        return None, "aliases expand too far"
    return value, ""


def load_mapping(text: object) -> dict[Any, Any]:
    """The mapping that YAML text holds, empty if there is none or it can't be read. It is shared: never change it."""
    value = _load(text)[0] if isinstance(text, str) else None
    return value if isinstance(value, dict) else {}


def clean_text(text: str) -> str:
    """`text` on one line: white space collapsed to single spaces, other control characters removed."""
    return " ".join(_UNWANTED.sub("", text).split())


def item_text(value: Any, *, depth: int = 0) -> str:
    """A value as the text of one item, on one line; a mapping `{FR001: text}` becomes `FR001: text`."""
    if value is None or depth > 3:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return _mapping_text(value, depth)
    if isinstance(value, list | tuple | set):
        return ", ".join(filter(None, (item_text(item, depth=depth + 1) for item in value)))
    if isinstance(value, str | int | float | date):
        return clean_text(value.isoformat() if isinstance(value, date) else str(value))
    return ""


def _mapping_text(mapping: dict[Any, Any], depth: int) -> str:
    pairs = [(item_text(key, depth=depth + 1), item_text(value, depth=depth + 1)) for key, value in mapping.items()]
    by_key = {key.lower(): value for key, value in pairs}
    if by_key.get("id") and by_key.get("description"):
        head = f"{by_key['id']}: {by_key['description']}"
        pairs = [pair for pair in pairs if pair[0].lower() not in ("id", "description")]
        return "; ".join([head, *(f"{key}: {value}" for key, value in pairs if value)])
    return "; ".join(f"{key}: {value}" if value else key for key, value in pairs)


def _read_text(value: Any) -> Any:
    return (
        clean_text(value) if isinstance(value, str) else item_text(value) if isinstance(value, int | float) else value
    )


def _read_items(value: Any) -> Any:
    """Null is no item, bare text is one, blank items go."""
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    return [text for text in map(item_text, value) if text] if isinstance(value, list) else value


def _read_status(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word = "_".join(value.lower().replace("-", " ").split())
    return _STATUS_SYNONYMS.get(word, word)


def _read_date(value: Any) -> Any:
    """A YAML date or timestamp, or ISO 8601 text, as `2025-11-01`."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip().replace("Z", "+00:00")).date().isoformat()
        except ValueError:
            raise ValueError("is no ISO 8601 date such as 2025-11-01") from None
    return value


_ItemText = Annotated[str, Field(min_length=1, max_length=MAX_ITEM_CHARACTERS)]
_Items = Annotated[tuple[_ItemText, ...], BeforeValidator(_read_items), Field(max_length=MAX_ITEMS)]
_SomeItems = Annotated[tuple[_ItemText, ...], BeforeValidator(_read_items), Field(min_length=1, max_length=MAX_ITEMS)]
_Name = Annotated[str, BeforeValidator(_read_text), Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
_Text = Annotated[str, BeforeValidator(_read_text), Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


class _Output(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Vision(_Output):
    """The product vision. Texts are on one line; `last_updated` is an ISO date."""

    product_name: _Name = Field(description="The product's name.")
    product_summary: _Text = Field(description="What the product is and for whom, in 120 to 300 characters.")
    target_users: _SomeItems = Field(description="Two or more groups of people who use it.")
    value_proposition: _SomeItems = Field(description="Two or more benefits for them.")
    key_capabilities: _SomeItems = Field(description="Two or more things that the product can do.")
    non_goals: _Items = Field(description="What the product leaves out; one or more.")
    success_metrics: _SomeItems = Field(description="Two or more measures that would show its success.")
    last_updated: Annotated[str, BeforeValidator(_read_date)] = Field(description="An ISO date such as 2025-11-01.")


class Alignment(_Output):
    """What of the requirements serves the vision, what is missing, what contradicts it."""

    aligned: _Items = Field(description="One item for each requirement that serves the vision: its id, then why.")
    gaps: _Items = Field(
        description="One item for each requirement too vague to test, by its id, and for each promise of the concept "
        "that no requirement serves; empty if there is none."
    )
    conflicts: _Items = Field(
        description="One item for each pair of requirements that cannot both hold, naming both ids and why; empty if "
        "there is none."
    )


class Review(_Output):
    """The review of the requirements against the vision."""

    status: Annotated[Status, BeforeValidator(_read_status)] = Field(
        description="misaligned if there is a conflict, else needs_adjustment if there is a gap, else aligned."
    )
    summary: _SomeItems = Field(description="Two or more short findings.")
    requirements_alignment: Alignment
    recommended_actions: _Items = Field(description="Two or more next steps, the most urgent first.")
    narrative: _Text = Field(description="The review in a few whole sentences, in 80 to 400 characters.")


MODELS: dict[str, type[Vision] | type[Review]] = {VISION: Vision, REVIEW: Review}


def read_output(name: str, text: str) -> tuple[Vision | Review | None, list[str]]:
    """The output `name` (a key of MODELS) as its model, or None and the problems, each for a person."""
    label = BLOCK_LABELS[name]
    value, reason = _load(text)
    if reason:
        return None, [f"{label} is no readable YAML: {reason}"]
    if not isinstance(value, dict):
        return None, [f"{label} is no mapping"]
    return read_mapping(name, value)


def read_mapping(name: str, value: Mapping[Any, Any]) -> tuple[Vision | Review | None, list[str]]:
    """As `read_output`, of values that were read already."""
    try:
        return MODELS[name].model_validate(value), []
    except ValidationError as error:
        label = BLOCK_LABELS[name]
        return None, [f"{label}.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]


def valid_output(name: str, text: str) -> Vision | Review:
    """The output `name` as its model. Raises InvalidArgument that names the problems."""
    output, problems = read_output(name, text)
    if output is None:
        raise InvalidArgument(f"{name} is not valid: {'; '.join(problems)}", field=name)
    return output


def canonical_text(output: Vision | Review) -> str:
    """The one text of an output: block YAML, keys in order, every text double-quoted on one line, status bare."""
    lines: list[str] = []
    for key, value in output:
        if isinstance(value, Alignment):
            lines.append(f"{key}:")
            for name in ALIGNMENT_KEYS:
                lines += _list_lines(name, getattr(value, name), indent="  ")
        elif isinstance(value, tuple):
            lines += _list_lines(key, value, indent="")
        else:
            lines.append(f"{key}: {value if key == 'status' else quoted(value)}")
    return "\n".join(lines)


def _list_lines(key: str, items: tuple[str, ...], *, indent: str) -> list[str]:
    if not items:
        return [f"{indent}{key}: []"]
    return [f"{indent}{key}:", *(f"{indent}- {quoted(item)}" for item in items)]


def quoted(text: str) -> str:
    """`text`, which is on one line, as a double-quoted YAML scalar."""
    return f'"{escaped(text)}"'


def escaped(text: str) -> str:
    """`text` as it stands between double quotes, in YAML and in GBNF: backslashes and quotes with a backslash."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def canonical_output(name: str, text: str) -> str:
    """The canonical text of an output's raw text. Raises InvalidArgument that names the problems."""
    return canonical_text(valid_output(name, text))


def labels(outputs: Mapping[str, str]) -> dict[str, str]:
    """`status` of the review, where it is one of the three (or a synonym of one)."""
    status = _read_status(load_mapping(outputs.get(REVIEW)).get("status"))
    return {"status": status} if status in STATUSES else {}
