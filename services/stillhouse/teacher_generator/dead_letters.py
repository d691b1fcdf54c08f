"""Dead letters: concepts that no attempt answered well, with their answers: written, gathered, read back.

Called by the ledger while the generation runs, by its callers at its end, and for a retry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stillhouse.dataset.lines import Row, json_line, lines_of, read_rows, replacing
from stillhouse.errors import InvalidArgument
from stillhouse.teachers.dialogue import Call, Concept, Outcome, inputs_digest

_LONGEST_TEXT = 32_768
"""Characters of an answer that a letter shows. The whole answer is in the answer log."""


def dead_letter_line(outcome: Outcome, *, stage: str, model: str) -> str:
    """A concept with every answer that was not good enough, so that it can be asked about again."""
    concept = outcome.concept
    row = {
        "concept": concept.number,
        "inputs": dict(concept.inputs),
        "labels": dict(concept.labels),
        "stage": stage,
        "model": model,
        "reason": outcome.reason,
        "answers": [_answer(call, stage=stage, model=model) for call in outcome.calls],
    }
    return json_line(row, sort_keys=False)


def gather_dead_letters(sources: Sequence[Path], target: Path, *, is_answered: Callable[[int], bool]) -> int:
    """Writes one letter a concept to `target`, and returns how many; concepts that were answered since are left out.

    A concept that several stages or retries could not answer has all its answers in one letter, in the order of the
    sources, and the last one's stage, model and reason. `is_answered` is asked with `inputs_digest`s. `target` may be
    one of the sources.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for number, source in enumerate(sources):
        for row in _rows(source):
            digest = inputs_digest(_letter(row).inputs)
            if not is_answered(digest):
                places.setdefault(digest, []).append((number, row.line))
    # Letters of one concept are merged where its first one stands; only those that have several are held.
    several = {place: digest for digest, found in places.items() if len(found) > 1 for place in found}
    merged: dict[int, dict[str, Any]] = {}
    for number, source in enumerate(sources):
        for row in _rows(source) if several else ():
            found = several.get((number, row.line))
            if found is not None:
                before = merged[found]["answers"] if found in merged else []
                merged[found] = {**row.values, "answers": [*before, *row.values["answers"]]}
    first = {found[0]: digest for digest, found in places.items()}
    with replacing(target) as stream:
        for number, source in enumerate(sources):
            for row in _rows(source):
                digest_here = first.get((number, row.line))
                if digest_here is not None:
                    stream.write(json_line(merged.get(digest_here, row.values), sort_keys=False))
    return len(places)


def retried_concepts(letters: Path, *, model: str) -> Iterator[Concept]:
    """The concepts of a file of dead letters, with the attempts that `model` has made already.

    Raises InvalidArgument that names file and line where a line is no dead letter.
    """
    for row in _rows(letters):
        yield _letter(row, model=model)


def _rows(path: Path) -> Iterable[Row]:
    return read_rows(lines_of(path), source=path.name)


def _letter(row: Row, *, model: str = "") -> Concept:
    values = row.values
    try:
        attempts = [int(answer["attempt"]) + 1 for answer in values["answers"] if answer["model"] == model]
        inputs = {str(name): text for name, text in values["inputs"].items() if isinstance(text, str)}
        labels = {str(name): str(text) for name, text in values["labels"].items()}
        return Concept(int(values["concept"]), inputs, labels, max(attempts, default=0))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidArgument(f"{row.place} is no dead letter ({exc!r}); mend or remove that line") from exc


def _answer(call: Call, *, stage: str, model: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "model": model,
        "kind": call.kind.value,
        "attempt": call.attempt,
        "reason": call.judgement.reason,
        "details": list(call.judgement.details)[:5],
        "score": call.judgement.score,
        "finish_reason": call.answer.finish_reason,
        "text": call.answer.text[:_LONGEST_TEXT],
    }
