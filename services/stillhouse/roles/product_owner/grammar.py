"""The GBNF that holds a student to canonical answers: valid, bounded, finite, with the request's own requirement ids.

The role object hands it to whoever serves a student with llama.cpp. It knows the schema and the requirements, no model
and no sampler. It forces no id, no count above one and no length: what an answer is worth is left to the student.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from stillhouse.roles.product_owner.metric import read_requirements
from stillhouse.roles.product_owner.schema import MAX_ITEMS, STATUSES, escaped
from stillhouse.roles.product_owner.signature import REQUIREMENTS

NAME_CHARACTERS = 80
SUMMARY_CHARACTERS = 480
BRIEF_CHARACTERS = 320
NOTE_CHARACTERS = 480
NARRATIVE_CHARACTERS = 800
"""Most characters of a text; an escaped one counts once. Gaps, conflicts and actions are notes, all other items brief.
The recordings have at most 46, 403, 305, 405 and 665."""
SHORT_LIST_ITEMS = 6
LONG_LIST_ITEMS = 12
"""Most items of a list; key_capabilities and aligned are long. The recordings have at most 5 and 12. A weak student
fills every list to its bound, so the bounds are what its answers cost."""

MAX_IDS = 64
MAX_ID_CHARACTERS = 32
MAX_PREFIXES = 16
"""More ids, longer ones or more kinds of them are left out: the requirements are somebody else's text."""

_ASCII = r"!#-\[\]-~"
_BEYOND_ASCII = (
    r"\u00A1-\u167F\u1681-\u1FFF\u200B-\u2027\u202A-\u202E\u2030-\u205E\u2060-\u2FFF\u3001-\uD7FF"
    r"\uE000-\uFEFE\uFF00-\uFFFD\U00010000-\U0010FFFF"
)
# Canonical text knows one white space, the blank; control characters, other spaces and what PyYAML refuses are out.
# What can follow an id without making it another one: no letter, digit or underscore.
_BOUNDARY = r" !#-/:-@\[\]-^`{-~\u2010-\u2027\u2030-\u205E\u2190-\u2BFF\u3001-\u3003"
_USUAL_PREFIXES = ("FR", "NFR", "C")
_ID = re.compile(r"[^\s\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]+")
_ID_PREFIX = re.compile(r"([A-Za-z]{1,8})[-_ ]?[0-9]")


def grammar(inputs: Mapping[str, str]) -> str:
    """GBNF whose root is the canonical answer to these inputs. Never raises.

    An aligned item is an id of the requirements, alone or followed by text, or else text that does not begin as an id
    does (`FR9`, `c-2`). Requirements without a usable id leave aligned items free.
    """
    ids = requirement_ids(inputs)
    return "\n".join([*_document(len(ids)), *_texts(), *_date(), *_aligned(ids)]) + "\n"


def requirement_ids(inputs: Mapping[str, str]) -> list[str]:
    """The distinct ids of the requirements that the grammar can hold, in their order."""
    found = dict.fromkeys(requirement.id for requirement in read_requirements(inputs.get(REQUIREMENTS)))
    return [text for text in found if len(text) <= MAX_ID_CHARACTERS and _ID.fullmatch(text)][:MAX_IDS]


def _document(ids: int) -> list[str]:
    some = _list("brief")
    capabilities = _list("brief", most=LONG_LIST_ITEMS)
    aligned = _list("aligned-item", indent="  ", most=min(max(LONG_LIST_ITEMS, ids), MAX_ITEMS))
    return [
        "root ::= vision review",
        r'vision ::= "```yaml VISION\nproduct_name: " name "\nproduct_summary: " paragraph "\ntarget_users:" some '
        r'"\nvalue_proposition:" some "\nkey_capabilities:" capabilities "\nnon_goals:" (none | some) '
        r'"\nsuccess_metrics:" some "\nlast_updated: \"" date "\"\n```\n"',
        r'review ::= "```yaml REVIEW\nstatus: " status "\nsummary:" some "\nrequirements_alignment:\n  aligned:" '
        r'(none | aligned) "\n  gaps:" (none | notes) "\n  conflicts:" (none | notes) '
        r'"\nrecommended_actions:" (none | actions) "\nnarrative: " narrative "\n```"',
        f"status ::= {_any_of(STATUSES)}",
        'none ::= " []"',
        f"some ::= {some}",
        f"capabilities ::= {capabilities}",
        f"actions ::= {_list('note')}",
        f"notes ::= {_list('note', indent='  ')}",
        f"aligned ::= {aligned}",
    ]


def _list(item: str, *, indent: str = "", most: int = SHORT_LIST_ITEMS) -> str:
    return rf'("\n{indent}- " {item}){{1,{most}}}'


def _texts() -> list[str]:
    rules = [
        f"ink ::= [{_ASCII}] | other",
        f"char ::= [ {_ASCII}] | other",
        rf'other ::= "\\" [\\"] | [{_BEYOND_ASCII}]',
    ]
    for name, most in (
        ("name", NAME_CHARACTERS),
        ("paragraph", SUMMARY_CHARACTERS),
        ("brief", BRIEF_CHARACTERS),
        ("note", NOTE_CHARACTERS),
        ("narrative", NARRATIVE_CHARACTERS),
    ):
        rules.append(rf'{name} ::= "\"" ink char{{0,{most - 1}}} "\""')
    return rules


def _date() -> list[str]:
    """The days of the years 2000 to 2099."""
    return [
        'date ::= year "-" day | leap "-02-29"',
        'year ::= "20" [0-9] [0-9]',
        'leap ::= "20" ([02468] [048] | [13579] [26])',
        'day ::= month "-" ("0" [1-9] | "1" [0-9] | "2" [0-8]) | long "-" ("29" | "30") | longest "-31"',
        'month ::= "02" | long',
        'long ::= longest | "04" | "06" | "09" | "11"',
        'longest ::= "01" | "03" | "05" | "07" | "08" | "10" | "12"',
    ]


def _aligned(ids: list[str]) -> list[str]:
    if not ids:
        return ["aligned-item ::= brief"]
    found = (match[1].upper() for match in map(_ID_PREFIX.match, ids) if match)
    prefixes = list(dict.fromkeys([*_USUAL_PREFIXES, *found]))[:MAX_PREFIXES]
    rest = BRIEF_CHARACTERS - MAX_ID_CHARACTERS
    return [
        r'aligned-item ::= "\"" (id (boundary rest)? | free) "\""',
        f"id ::= {_any_of(ids)}",
        rf'boundary ::= [{_BOUNDARY}] | "\\" [\\"]',
        f"rest ::= char{{0,{rest}}}",
        *_free(prefixes),
    ]


def _free(prefixes: Iterable[str]) -> list[str]:
    """Text that does not begin with a prefix, in any case, perhaps a blank, hyphen or underscore, and a digit.

    It walks along the tree of the prefixes and leaves it for `rest` at the first character that is not on it.
    """
    whole = set(prefixes)
    nodes = sorted({prefix[:end] for prefix in whole for end in range(len(prefix) + 1)})
    rules = []
    for node in nodes:
        onward = sorted(child[-1] for child in nodes if child and child[:-1] == node)
        letters = "".join(letter + letter.lower() for letter in onward)
        blocked = letters + ("0123456789-_ " if node in whole else "" if node else " ")
        ways = [f"[{letter}{letter.lower()}] {_free_name(node + letter)}" for letter in onward]
        ways += [f"({_class_without(blocked)} | other) rest"]
        if node in whole:
            ways.append(f"[ _-] (({_class_without('0123456789 ')} | other) rest)?")
        ending = ' | ""' if node else ""
        rules.append(f"{_free_name(node)} ::= {' | '.join(ways)}{ending}")
    return rules


def _free_name(node: str) -> str:
    return f"free-{node.lower()}" if node else "free"


def _class_without(characters: str) -> str:
    """The class of the ASCII characters of a text, blank included, that need no escape and are none of these."""
    out = sorted({0x1F, *map(ord, '"\\\x7f'), *map(ord, characters)})
    runs = [(low + 1, high - 1) for low, high in pairwise(out) if high - low > 1]
    return "[" + "".join(f"\\x{low:02X}-\\x{high:02X}" for low, high in runs) + "]"


def _any_of(texts: Iterable[str]) -> str:
    """Alternatives of literals: escaped once for the double-quoted YAML scalar they stand in, and once for GBNF."""
    return " | ".join(f'"{escaped(escaped(text))}"' for text in texts)
