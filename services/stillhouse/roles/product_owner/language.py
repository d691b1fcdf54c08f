"""Guesses the language of a text by its function words, or its script. The guard `wrong_language` uses it.

Knows a handful of languages well enough to tell them apart in a few sentences; says nothing where it can't tell.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

MIN_WORDS = 6
MIN_SHARE = 0.12
"""Share of function words among all words that a language needs."""
MARGIN = 1.5
"""How many times as many function words as the second language has."""
_SAMPLE_CHARACTERS = 20_000

_FUNCTION_WORDS = {
    "English": "the of and to in is are for with that on as by this be from it at an or which their its not",
    "Spanish": "el la los las de del y en es para con que por una un se su sus al como lo más son sin sobre entre",
    "Portuguese": "o os as da do das dos e em é para com que por uma um não se na no nas nos ao como mais são sem",
    "French": "le la les des du de et en est pour avec que qui par une un dans sur au aux ce cette sont plus leur",
    "German": "der die das und in ist für mit von zu den dem des ein eine einer nicht auf als sich werden wird",
    "Italian": "il lo gli le di del della dei e in è per con che da una un non si nel alla al come più sono sui tra",
}
_WORDS_OF = {name: frozenset(words.split()) for name, words in _FUNCTION_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")


def guess(text: str) -> str:
    """The language's English name, or `Cyrillic script` and the like for text that is not Latin; empty if unclear."""
    words = _WORD.findall(text[:_SAMPLE_CHARACTERS].lower())
    script = _script(words)
    if script and script != "LATIN":
        return f"{script.capitalize()} script"
    if len(words) < MIN_WORDS:
        return ""
    counts = Counter({name: sum(word in known for word in words) for name, known in _WORDS_OF.items()})
    (best, most), (_, second) = counts.most_common(2)
    return best if most >= MIN_SHARE * len(words) and most >= MARGIN * second else ""


def _script(words: list[str]) -> str:
    """The script of more than half of the letters, as Unicode names it."""
    letters = Counter(letter for word in words for letter in word)
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "UNKNOWN").split(" ")[0].split("-")[0]] += count
    name, count = scripts.most_common(1)[0] if scripts else ("", 0)
    return name if 2 * count > scripts.total() else ""
