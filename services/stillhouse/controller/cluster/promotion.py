"""Which model a student's Service serves: a pure decision between what is served and what a Distillation has made.

A takeover always goes forward in time: of two candidates the later evaluated one may replace the earlier one, never the
other way round, so that Distillations that feed one student can't swap for ever. `serve.pin` is the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stillhouse.dataset.paired import PairedDifference
from stillhouse.errors import FailedPrecondition


@dataclass(frozen=True)
class Candidate:
    """A model with the evaluation that speaks for it."""

    model_sha256: str
    evaluation_key: str
    """Of answers to the role's own prompt, which clients send, whatever prompt the gates were held with."""
    validation_sha256: str
    evaluated_at: float
    """Seconds since the epoch."""
    passed: bool = True
    """Its gates."""
    served_because: str = ""
    """Of one that is served: what was said when it took over."""
    served_by: str = ""
    """Of one that is served: the Distillation that sees to it; others may have made the same model."""


@dataclass(frozen=True)
class Decision:
    """`model_sha256` to serve (empty: nothing), and why."""

    model_sha256: str
    takes_over: bool
    """Whether it is the candidate's, and not served yet."""
    reason: str
    """For a condition: CamelCase."""
    message: str


Compare = Callable[[Candidate, Candidate], PairedDifference]


def decide(
    candidate: Candidate | None,
    served: Candidate | None,
    *,
    policy: str,
    pins: Sequence[str],
    compare: Compare,
) -> Decision:
    """What to serve now.

    `pins` are the digests that Distillations of this student pin; `compare(candidate, served)` is the paired difference
    of their scores, asked for only where both were evaluated on the same rows.
    """
    kept = served.model_sha256 if served else ""
    distinct = sorted(set(pins))
    if len(distinct) > 1:
        return Decision(kept, takes_over=False, reason="PinsDisagree", message=f"pins differ: {', '.join(distinct)}")
    if distinct:
        pinned = distinct[0]
        own = candidate is not None and candidate.model_sha256 == pinned
        message = f"serve.pin holds {pinned[:12]}"
        return Decision(pinned, takes_over=own and pinned != kept, reason="Pinned", message=message)
    if candidate is None:
        return Decision(kept, takes_over=False, reason="NoModel", message="there is no evaluated model yet")
    if candidate.model_sha256 == kept:
        return Decision(kept, takes_over=False, reason="Serving", message=served.served_because if served else "")
    refusal = _refusal(candidate, served, policy, compare)
    if refusal is not None:
        return Decision(kept, takes_over=False, reason=refusal[0], message=refusal[1])
    return Decision(
        candidate.model_sha256, takes_over=True, reason="Promoted", message=_praise(candidate, served, policy)
    )


def _refusal(candidate: Candidate, served: Candidate | None, policy: str, compare: Compare) -> tuple[str, str] | None:
    if policy == "Never":
        return "NotWanted", "serve.policy is Never"
    if not candidate.passed:
        return "GatesFailed", "its gates failed"
    if served is None:
        return None
    if candidate.evaluated_at <= served.evaluated_at:
        return "Superseded", "a model that was evaluated later is served; serve.pin brings this one back"
    if policy == "Always":
        return None
    if candidate.validation_sha256 != served.validation_sha256:
        return (
            "NotComparable",
            "the model that is served was evaluated on other rows; serve.policy: Always replaces it all the same",
        )
    try:
        difference = compare(candidate, served)
    except FailedPrecondition as exc:
        return "NotComparable", exc.message
    if difference.low > 0:
        return None
    return "NotBetter", f"not surely better than the model that is served: {_words(difference)}"


def _praise(candidate: Candidate, served: Candidate | None, policy: str) -> str:
    taken = f"{candidate.model_sha256[:12]} takes over"
    if served is None:
        return f"{candidate.model_sha256[:12]} is the first"
    return f"{taken} (serve.policy: Always)" if policy == "Always" else f"{taken}: it is better"


def _words(difference: PairedDifference) -> str:
    return (
        f"difference {difference.mean:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}, "
        f"{difference.rows} rows"
    )
