"""The scorer's work: which role and metric, how long a text may be, then the one scoring path of all stages.

Called by the servicer. It knows no grpc; the verdict itself is `stillhouse.roles.scoring`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from stillhouse.errors import InvalidArgument, ResourceExhausted
from stillhouse.roles.metric_reference import Metric, load_metric, refuse_custom_metric
from stillhouse.roles.role import Role, load_role
from stillhouse.roles.scoring import RecordScore, score_record


@dataclass(frozen=True)
class ScoringLimits:
    """What the server permits."""

    max_text_characters: int
    """The longest input, output or response."""
    allow_custom_metric: bool
    """Whether a request may name a metric `module:function`, which runs that module here."""


@dataclass(frozen=True)
class ScoringJob:
    """One record to score; `response` is read where there are no outputs; an empty `metric` is the role's."""

    role: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    response: str
    metric: str = ""


def score(job: ScoringJob, limits: ScoringLimits) -> RecordScore:
    """The verdict on a record, all guards asked.

    Raises InvalidArgument on an unknown role, field or metric or a missing input, PermissionDenied on a metric of the
    user's own where the server does not allow it, ResourceExhausted on a text that is too long.
    """
    role = load_role(job.role)
    _check_fields(job, role)
    _check_lengths(job, limits)
    return score_record(
        role,
        job.inputs,
        outputs=job.outputs,
        response=job.response or None,
        metric=_metric(job.metric, allowed=limits.allow_custom_metric),
    )


def _check_fields(job: ScoringJob, role: Role) -> None:
    for kind, found, known in (
        ("inputs", job.inputs, role.input_fields),
        ("outputs", job.outputs, role.output_fields),
    ):
        for name in found:
            if name not in known:
                raise InvalidArgument(
                    f"role {role.name!r} has no field {name!r} in its {kind}; it has {', '.join(known)}",
                    field=f"record.{kind}",
                )
    for name in role.input_fields:
        if name not in role.optional_inputs and name not in job.inputs:
            raise InvalidArgument(f"input {name!r} is missing", field=f"record.inputs.{name}")


def _check_lengths(job: ScoringJob, limits: ScoringLimits) -> None:
    texts = {**job.inputs, **job.outputs, "response": job.response}
    for name, text in texts.items():
        if len(text) > limits.max_text_characters:
            raise ResourceExhausted(
                f"field {name!r} has {len(text)} characters, more than the {limits.max_text_characters}"
                " that this server scores; raise STILLHOUSE_SCORER_MAX_TEXT_CHARACTERS there",
                field=name,
            )


def _metric(reference: str, *, allowed: bool) -> Metric | None:
    if not reference:
        return None
    if not allowed:
        refuse_custom_metric(reference)
    return _loaded(reference)


_loaded = lru_cache(maxsize=32)(load_metric)
