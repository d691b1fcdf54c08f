"""The rows to evaluate on: records of a built data set, or flat rows with the role's fields at the top.

Called by the evaluation and the command line. Streams its lines; knows no store and no student.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from stillhouse.dataset.importing import read_candidates
from stillhouse.roles.role import Role


@dataclass(frozen=True)
class EvaluationRow:
    """One question of the validation set."""

    row_id: str
    """16 hexadecimal digits of the inputs' SHA-256, with `-2`, `-3`, ... for inputs that repeat: pairs evaluations."""
    inputs: Mapping[str, str]
    labels: Mapping[str, str]
    """tier, concept_id and what else the row says; no model sees it."""


def read_rows(lines: Iterable[str], role: Role, *, source: str) -> Iterator[EvaluationRow]:
    """The rows of JSONL text; blank lines are skipped, recorded answers are not looked at.

    Raises InvalidArgument that names `source` and line where a row is broken or lacks an input.
    """
    seen: Counter[str] = Counter()
    for candidate in read_candidates(lines, source=source, shape=role, answered=False):
        inputs = {name: text for name, text in candidate.inputs.items() if text.strip()}
        digest = _inputs_digest(inputs)
        seen[digest] += 1
        row_id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        yield EvaluationRow(row_id, inputs, candidate.labels)


def _inputs_digest(inputs: Mapping[str, str]) -> str:
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]
