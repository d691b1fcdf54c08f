"""Holds a review's gaps and conflicts against what was planted: found, missed, invented.

The role object calls it for the evaluator. It reads labels and the review only; the metric knows nothing of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from stillhouse.roles.product_owner.concepts import PLANTED_CONFLICTS, PLANTED_GAPS
from stillhouse.roles.product_owner.schema import item_text, load_mapping
from stillhouse.roles.product_owner.signature import REVIEW
from stillhouse.roles.role import Detection

GAPS = "gaps"
CONFLICTS = "conflicts"
MAX_READ_ITEMS = 200
"""Items of a list that are looked at; the models take 20."""


def detections(labels: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, Detection]:
    """Counts by kind, for the kinds that the labels speak of; a label that is no JSON list says nothing.

    A planted gap is a text. An item of `gaps` names it if it contains that text, letter case and white space aside; a
    text without white space, an id, must stand in it as a whole word (NFR001 does not name FR001). A planted conflict
    is a list of ids; an item of `conflicts` names it if it contains every one as a whole word. The label
    `planted_conflicts` is one such list or a list of them.

    Each item finds at most one planted finding and each is found at most once, paired so that most are found. An item
    that names only what others found counts for nothing; one that names nothing planted is invented. A review that
    can't be read has no items, so all that was planted is missed.
    """
    alignment = load_mapping(outputs.get(REVIEW)).get("requirements_alignment")
    items = alignment if isinstance(alignment, dict) else {}
    found = {}
    gaps, conflicts = _read_list(labels.get(PLANTED_GAPS)), _read_list(labels.get(PLANTED_CONFLICTS))
    if gaps is not None:
        found[GAPS] = _compared([[text] for text in _texts(gaps)], _texts(items.get(GAPS)))
    if conflicts is not None:
        pairs = [_texts(part) for part in conflicts if isinstance(part, list)] or [_texts(conflicts)]
        found[CONFLICTS] = _compared([pair for pair in pairs if pair], _texts(items.get(CONFLICTS)))
    return found


def _compared(planted: Sequence[Sequence[str]], items: Sequence[str]) -> Detection:
    """`planted` are findings, each the texts that an item must contain."""
    named = [
        [index for index, texts in enumerate(planted) if all(_names(item, text) for text in texts)] for item in items
    ]
    found = _most_pairs(named)
    return Detection(found=found, missed=len(planted) - found, invented=sum(not indexes for indexes in named))


def _most_pairs(named: Sequence[Sequence[int]]) -> int:
    """Size of a largest pairing of items with planted findings (augmenting paths; there are few of both)."""
    taken: dict[int, int] = {}

    def place(item: int, tried: set[int]) -> bool:
        for finding in named[item]:
            if finding not in tried:
                tried.add(finding)
                if finding not in taken or place(taken[finding], tried):
                    taken[finding] = item
                    return True
        return False

    return sum(place(item, set()) for item in range(len(named)))


def _names(item: str, text: str) -> bool:
    pattern = re.escape(text)
    return bool(re.search(pattern if " " in text else rf"(?<!\w){pattern}(?!\w)", item))


def _read_list(label: str | None) -> list[object] | None:
    try:
        value = json.loads(label) if label else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _texts(value: object) -> list[str]:
    """Items as the models read them: bare text is one, blank ones are none; in lower case."""
    items = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for text in (item_text(item).lower() for item in items[:MAX_READ_ITEMS]) if text]
