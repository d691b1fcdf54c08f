"""What changed from one program to another; pure. Called by `program diff`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import unified_diff
from itertools import islice

from stillhouse.programs.document import program_sha256
from stillhouse.programs.program import Demo, Json, Predictor, Program


@dataclass(frozen=True)
class Change:
    """Something that has another value; None where it is not there."""

    what: str
    before: Json
    after: Json


@dataclass(frozen=True)
class PredictorDifference:
    """What changed in a predictor that both programs have."""

    name: str
    instructions: tuple[str, ...]
    """Lines of a unified diff, without its header; empty where they are equal."""
    demos_added: tuple[Demo, ...]
    demos_removed: tuple[Demo, ...]
    demos_moved: bool
    """The demos that both have stand in another order."""
    changes: tuple[Change, ...]
    """Fields, settings and model."""


@dataclass(frozen=True)
class Difference:
    """What changed; `not difference` where the programs are the same."""

    changes: tuple[Change, ...]
    """Role, and modules and predictors that only one has or that are of another class."""
    predictors: tuple[PredictorDifference, ...]
    """Only those that differ."""

    def __bool__(self) -> bool:
        return bool(self.changes or self.predictors)


def differences(before: Program, after: Program) -> Difference:
    """Empty exactly where both are the same program: where `program_sha256` is the same."""
    changes = [
        *_changed("role", f"{before.role} {before.role_version}", f"{after.role} {after.role_version}"),
        *_changes("module", _nodes(before), _nodes(after)),
    ]
    both = [name for name in before.predictors if name in after.predictors]
    compared = [_compared(name, before.predictors[name], after.predictors[name]) for name in both]
    found = [one for one in compared if one is not None]
    if not changes and not found:
        changes += _changed("order in the document", program_sha256(before), program_sha256(after))
    return Difference(tuple(changes), tuple(found))


def _nodes(program: Program) -> dict[str, Json]:
    return {name: f"{node.kind}{', frozen' * node.compiled}" for name, node in program.modules.items()}


def _compared(name: str, before: Predictor, after: Predictor) -> PredictorDifference | None:
    lines = () if before.instructions == after.instructions else tuple(_lines(before.instructions, after.instructions))
    old, new = [_key(demo) for demo in before.demos], [_key(demo) for demo in after.demos]
    added = _surplus(after.demos, Counter(new) - Counter(old))
    removed = _surplus(before.demos, Counter(old) - Counter(new))
    moved = _common(old, Counter(new)) != _common(new, Counter(old))
    changes = [
        *_changes("field", _fields(before), _fields(after)),
        *_changes("config", before.config, after.config),
        *_changes("decision", before.decisions, after.decisions),
        *_changes("lm", before.lm or {}, after.lm or {}),
    ]
    if not (lines or added or removed or moved or changes):
        changes += _changed("sha256 of the prompts", before.prompts_sha256, after.prompts_sha256)
        if not changes:
            return None
    return PredictorDifference(name, lines, added, removed, moved, tuple(changes))


def _lines(before: str, after: str) -> Iterator[str]:
    lines = unified_diff(before.split("\n"), after.split("\n"), lineterm="", n=2)
    return (line for line in islice(lines, 2, None) if not line.startswith("@@"))


def _fields(predictor: Predictor) -> dict[str, Json]:
    """Every property of every field, and their order."""
    described: dict[str, Json] = {"order": [field.name for field in predictor.fields]}
    for field in predictor.fields:
        properties = asdict(field)
        described |= {f"{field.name} {name}": value for name, value in properties.items() if name != "name"}
    return described


def _key(demo: Demo) -> str:
    return json.dumps(asdict(demo))


def _surplus(demos: tuple[Demo, ...], surplus: Counter[str]) -> tuple[Demo, ...]:
    """As many of each demo as the count says, the last ones, in order."""
    chosen: list[Demo] = []
    for demo in reversed(demos):
        if surplus[_key(demo)] > 0:
            surplus[_key(demo)] -= 1
            chosen.append(demo)
    return tuple(reversed(chosen))


def _common(keys: list[str], others: Counter[str]) -> list[str]:
    """Those keys that the others have as well, in order."""
    left = others.copy()
    kept = []
    for key in keys:
        if left[key] > 0:
            left[key] -= 1
            kept.append(key)
    return kept


def _changes(what: str, before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        yield from _changed(f"{what} {name}", before.get(name), after.get(name))


def _changed(what: str, before: Json, after: Json) -> list[Change]:
    # As text: to Python 1, 1.0 and True are equal.
    return [] if json.dumps(before) == json.dumps(after) else [Change(what, before, after)]
