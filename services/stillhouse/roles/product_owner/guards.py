"""Named guards: what the metric cannot see in an answer that is well formed. Each says why it fires.

The role object calls `find`. Thresholds were calibrated on 319 recorded teacher answers; the figure beside each is what
those show at most. Guards judge what can be read: unreadable text is the models' business.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import language, metric
from stillhouse.roles.product_owner.schema import item_text, load_mapping
from stillhouse.roles.product_owner.signature import (
    ALIGNMENT_KEYS,
    BLOCK_LABELS,
    CONCEPT,
    REQUIREMENTS,
    REVIEW,
    REVIEW_KEYS,
    VISION,
    VISION_KEYS,
)
from stillhouse.roles.role import GuardFinding

PHRASE_WORDS = 6
PHRASE_FIELDS = 5
"""A phrase of six words in five fields of the answer is too many; recorded: 3, but for three answers."""
EQUAL_ITEMS = 3
"""Items that differ in nothing but ids and numbers; recorded: 1."""
LOOP_WORDS = 6
LOOP_REPEATS = 3
"""Up to six words, three times in a row; recorded: 2."""
LOOP_MIN_WORDS = 20
MIN_DISTINCT_SHARE = 0.45
"""Distinct words among all of one text of 20 or more; recorded: 0.6 at least."""
ANSWER_MIN_WORDS = 100
MIN_ANSWER_DISTINCT_SHARE = 0.25
"""The same over the whole answer of 100 words or more; recorded: 0.4 at least."""
SHORT_ACTION_WORDS = 6

_WORD = re.compile(r"\w+")
_ID = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{1,6})-?(\d{2,5})(?![A-Za-z0-9])")
_DEFAULT_PREFIXES = frozenset({"FR", "NFR"})
_LEADING_IDS = re.compile(r"\W{0,4}[A-Za-z]{1,6}-?\d{2,5}(?:(?: ?[,/&] ?| and | y )[A-Za-z]{1,6}-?\d{2,5}){0,20}\b")
_PROPOSAL = re.compile(r"\b(?:add|additional|new|introduce|create|añad|agreg|nuev|crea)\w*", re.IGNORECASE)
_NO_ACTION = re.compile(
    r"\W*(?:(?:none|n/?a|nothing|nil|null|tbd|todo|ningun[ao]?|nada|not applicable|no aplica)\b(?! of\b)|$)",
    re.IGNORECASE,
)
_NOTHING_NEEDED = re.compile(
    r"\W*(?:no|sin)\b.*\b(?:action|change|adjustment|need|requir|further|recommend|acci|cambio|ajuste|necesari)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\b(?:tbd|todo|lorem ipsum|to be (?:determined|defined)|fill (?:this )?in)\b[.!]?$|lorem ipsum"
    r"|[\[<{](?:insert|your|enter|placeholder|product name|text|item)\b|^[.\-_?x*]+$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…。][\"'”’»)\]*]*$")


@dataclass(frozen=True)
class Answer:
    """Both outputs as the guards read them: for each field its texts, each on one line."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @cached_property
    def vision(self) -> dict[str, list[str]]:
        """Texts of the vision by field."""
        return _texts(load_mapping(self.outputs.get(VISION)), VISION_KEYS[:-1])

    @cached_property
    def review(self) -> dict[str, list[str]]:
        """Texts of the review by field; aligned, gaps and conflicts are fields of their own."""
        review = load_mapping(self.outputs.get(REVIEW))
        alignment = review.get("requirements_alignment")
        texts = _texts(review, [key for key in REVIEW_KEYS[1:] if key != "requirements_alignment"])
        return texts | (_texts(alignment, ALIGNMENT_KEYS) if isinstance(alignment, dict) else {})

    @cached_property
    def fields(self) -> dict[str, list[str]]:
        """Texts of both outputs by field."""
        return self.vision | self.review

    @cached_property
    def known_ids(self) -> frozenset[tuple[str, int]]:
        """Every id that occurs in the text of the requirements, in whatever shape they have."""
        return frozenset(_ids(self.inputs.get(REQUIREMENTS) or ""))

    def ids_in(self, text: str) -> list[tuple[str, int]]:
        """The ids in a text that have a prefix which the requirements use (or FR, NFR)."""
        prefixes = {prefix for prefix, _ in self.known_ids} | _DEFAULT_PREFIXES
        return [found for found in _ids(text) if found[0] in prefixes]

    def leading_ids(self, field: str) -> set[tuple[str, int]]:
        """The ids that items of a field begin with: what those items are about."""
        heads = filter(None, map(_LEADING_IDS.match, self.fields.get(field, ())))
        return {found for head in heads for found in self.ids_in(head[0])}


def find(inputs: Mapping[str, str], outputs: Mapping[str, str], selected: Sequence[str]) -> list[GuardFinding]:
    """The selected guards that fire, in their order. Raises InvalidArgument on an unknown guard name."""
    for name in selected:
        if name not in _GUARDS:
            raise InvalidArgument(f"unknown guard {name!r}; guards: {', '.join(GUARD_NAMES)}", field="guards")
    answer = Answer(inputs, outputs)
    reasons = ((name, guard(answer)) for name, guard in _GUARDS.items() if name in selected)
    return [GuardFinding(name, reason) for name, reason in reasons if reason]


def repeated_phrase(answer: Answer) -> str:
    """The same phrase in many fields."""
    items = Counter(_bare(text) for texts in answer.fields.values() for text in texts)
    for text, count in items.most_common():
        if text and count >= EQUAL_ITEMS:
            return f"{count} items say {_short(text)}"
    fields_of = defaultdict(set)
    for field, texts in answer.fields.items():
        for text in texts:
            words = _words(text)
            for start in range(len(words) - PHRASE_WORDS + 1):
                fields_of[tuple(words[start : start + PHRASE_WORDS])].add(field)
    phrase = max(fields_of, key=lambda key: len(fields_of[key]), default=())
    if len(fields_of.get(phrase, ())) >= PHRASE_FIELDS:
        return f"{len(fields_of[phrase])} fields contain {_short(' '.join(phrase))}"
    return ""


def looping_words(answer: Answer) -> str:
    """A few words over and over."""
    everything: list[str] = []
    for field, texts in answer.fields.items():
        for text in texts:
            words = _words(text)
            everything += words
            if loop := _loop_in(words):
                return f"{field} repeats {_short(loop)} {LOOP_REPEATS} or more times in a row"
            if len(words) >= LOOP_MIN_WORDS and len(set(words)) < MIN_DISTINCT_SHARE * len(words):
                return f"{field} has only {len(set(words))} distinct words of {len(words)}"
    distinct = len(set(everything))
    if len(everything) >= ANSWER_MIN_WORDS and distinct < MIN_ANSWER_DISTINCT_SHARE * len(everything):
        return f"the answer has only {distinct} distinct words of {len(everything)}"
    return ""


def placeholder_action(answer: Answer) -> str:
    """A recommended action that recommends nothing: None, N/A, a blank, No changes needed."""
    for action in answer.review.get("recommended_actions", ()):
        nothing_needed = len(_words(action)) <= SHORT_ACTION_WORDS and _NOTHING_NEEDED.match(action)
        if _NO_ACTION.match(action) or nothing_needed:
            return f"a recommended action is {_short(action)}"
    return ""


def placeholder_text(answer: Answer) -> str:
    """A field that was left to be filled in, or that holds its own name."""
    for field, texts in answer.fields.items():
        for text in texts:
            if _PLACEHOLDER.search(text) or text.lower().strip(" .:").replace(" ", "_") == field:
                return f"{field} says {_short(text)}"
    return ""


def unknown_requirement_id(answer: Answer) -> str:
    """An id that the requirements do not have; an action may propose a new one."""
    if not (answer.inputs.get(REQUIREMENTS) or "").strip():
        return ""
    for field, texts in answer.review.items():
        for text in texts:
            if field == "recommended_actions" and _PROPOSAL.search(text):
                continue
            for prefix, number in answer.ids_in(text):
                if (prefix, number) not in answer.known_ids:
                    return f"{field} names {prefix}{number:03d}, which is not in the requirements"
    return ""


def aligned_and_conflicting_id(answer: Answer) -> str:
    """One requirement that is both an aligned item and a conflict."""
    both = sorted(answer.leading_ids("aligned") & answer.leading_ids("conflicts"))
    return f"{both[0][0]}{both[0][1]:03d} is both aligned and in conflict" if both else ""


def borrowed_requirement_id(answer: Answer) -> str:
    """A requirement that counts as covered only because a longer id contains its own, as NFR001 contains FR001."""
    segments = metric.read_segments(answer.outputs.get(REVIEW))
    joined = " ".join(segments).lower()
    for requirement in metric.read_requirements(answer.inputs.get(REQUIREMENTS)):
        wanted = requirement.id.lower()
        if not wanted or wanted not in joined or re.search(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])", joined):
            continue
        if not metric.shares_tokens(requirement.description, segments):
            return f"{requirement.id} occurs only inside a longer id and nothing else covers it"
    return ""


def wrong_language(answer: Answer) -> str:
    """A vision or review in another language than the concept (the requirements, where that is too short to tell)."""
    wanted = language.guess(answer.inputs.get(CONCEPT) or "") or language.guess(answer.inputs.get(REQUIREMENTS) or "")
    for name, fields in ((VISION, answer.vision), (REVIEW, answer.review)):
        found = language.guess(" ".join(text for texts in fields.values() for text in texts))
        if wanted and found and found != wanted:
            return f"{BLOCK_LABELS[name]} is in {found}, its concept in {wanted}"
    return ""


def truncated(answer: Answer) -> str:
    """An answer that ends early: an output is missing, or its last text is, or that stops in a sentence."""
    for name, label in BLOCK_LABELS.items():
        if not (answer.outputs.get(name) or "").strip():
            return f"there is no {label}"
    narrative = " ".join(answer.review.get("narrative", ()))
    if answer.review and not narrative:
        return "the review has no narrative"
    return f"the narrative ends with {_short(narrative[-40:])}" if _stops_early(narrative) else ""


_GUARDS: Mapping[str, Callable[[Answer], str]] = {
    guard.__name__: guard
    for guard in (
        repeated_phrase,
        looping_words,
        placeholder_action,
        placeholder_text,
        unknown_requirement_id,
        aligned_and_conflicting_id,
        borrowed_requirement_id,
        wrong_language,
        truncated,
    )
}
GUARD_NAMES = tuple(_GUARDS)


def _texts(mapping: Mapping[object, object], keys: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    for key in keys:
        value = mapping.get(key)
        if value is not None:
            found[key] = [item_text(item) for item in value] if isinstance(value, list) else [item_text(value)]
    return found


def _ids(text: str) -> Iterator[tuple[str, int]]:
    return ((match[1].upper(), int(match[2])) for match in _ID.finditer(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _bare(text: str) -> str:
    """The words of a text without ids and numbers."""
    return " ".join(word for word in _words(text) if not any(map(str.isdigit, word)))


def _loop_in(words: Sequence[str]) -> str:
    for length in range(1, LOOP_WORDS + 1):
        equal = 0
        for index in range(length, len(words)):
            equal = equal + 1 if words[index] == words[index - length] else 0
            if equal >= length * (LOOP_REPEATS - 1):
                return " ".join(words[index - length + 1 : index + 1])
    return ""


def _stops_early(text: str) -> bool:
    return bool(text) and not _SENTENCE_END.search(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
