"""What a role says of one record: score, parts, validity, guards. The one code path of all stages and of the scorer.

Called in process by dataset_builder, evaluator and the command line, and by the scorer service. It knows no field of a
role and no service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stillhouse.dataset.lines import Row, read_rows
from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import Metric
from stillhouse.roles.role import GuardFinding, Role


@dataclass(frozen=True)
class RecordScore:
    """The verdict on one record. `outputs` are those that were scored, verbatim."""

    score: float
    """In [0, 1]."""
    parts: Mapping[str, float]
    """The metric's parts by name, in its points."""
    valid: bool
    """True if every output is there and satisfies the role's models."""
    problems: tuple[str, ...]
    """Why it is not valid, for a person."""
    guards: tuple[GuardFinding, ...]
    outputs: Mapping[str, str]


def score_record(
    role: Role,
    inputs: Mapping[str, str],
    *,
    outputs: Mapping[str, str] | None = None,
    response: str | None = None,
    guards: Sequence[str] | None = None,
    metric: Metric | None = None,
) -> RecordScore:
    """Scores the outputs or, where none are given, those that the role reads from the raw `response`.

    `guards` are the names of those to ask (default: all); `metric` takes the place of the role's. Missing inputs and
    outputs count as empty. Raises InvalidArgument on an unknown guard or where a metric of the user's own fails.
    """
    problems: tuple[str, ...] = ()
    if not outputs and response is not None:
        answer = role.parse(response)
        outputs, problems = answer.outputs, tuple(answer.problems)
    found = dict(outputs or {})
    problems = problems or tuple(role.problems(found))
    verdict = (metric or role.score)(inputs, found)
    fired = role.guards(inputs, found, role.guard_names if guards is None else guards)
    return RecordScore(verdict.score, dict(verdict.parts), not problems, problems, tuple(fired), found)


def score_rows(
    role: Role,
    lines: Iterable[str],
    *,
    source: str,
    metric: Metric | None = None,
) -> Iterator[dict[str, object]]:
    """Each JSONL row as it is, with `score`, `parts` (by name) and `guards` ([{guard, reason}]) added or replaced.

    A row has the role's inputs and its outputs (or `response`) by name; what is absent or null counts as empty. Raises
    InvalidArgument that names file and line where a row is corrupt, a field is no text, or no field is the role's.
    """
    for row in read_rows(lines, source=source):
        verdict = _score_row(role, row, metric)
        found = [{"guard": finding.guard, "reason": finding.reason} for finding in verdict.guards]
        yield {**row.values, "score": verdict.score, "parts": dict(verdict.parts), "guards": found}


def _score_row(role: Role, row: Row, metric: Metric | None) -> RecordScore:
    inputs = _texts(row, role.input_fields)
    outputs = _texts(row, role.output_fields)
    response = _texts(row, ("response",)).get("response")
    if not outputs and response is None and not any(name in row.values for name in role.output_fields):
        names = ", ".join(role.output_fields)
        raise InvalidArgument(f"{row.place}: no field is an output of role {role.name!r} ({names}, or response)")
    try:
        return score_record(role, inputs, outputs=outputs, response=response, metric=metric)
    except InvalidArgument as exc:
        raise InvalidArgument(f"{row.place}: {exc.message}", field=exc.field) from exc


def _texts(row: Row, names: Iterable[str]) -> dict[str, str]:
    """The fields that are there; those of a built record are one level down."""
    texts: dict[str, str] = {}
    for name in names:
        value = next((found for found in _places(row, name) if found is not None), None)
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidArgument(f"{row.place}: field {name!r} is no text but {type(value).__name__}", field=name)
        texts[name] = value
    return texts


def _places(row: Row, name: str) -> Iterator[object]:
    yield row.values.get(name)
    for part in ("inputs", "outputs"):
        nested = row.values.get(part)
        if isinstance(nested, dict):
            yield nested.get(name)
