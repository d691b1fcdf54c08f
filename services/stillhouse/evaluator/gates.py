"""Gates: bounds on an evaluation's figures, each passed or failed with the reason as text. Pure.

Called by the evaluation, before it asks anything (to refuse bad gates) and after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument
from stillhouse.v1.evaluator_pb2 import Evaluation, Gate, GateResult

FIGURES = ("score_mean", "score_min", "gap", "valid_rate", "guard_rate", "median_seconds", "margin_over_base")


@dataclass(frozen=True)
class Comparison:
    """What the mean is compared with; None where there is nothing to compare with."""

    reference_score: float | None = None
    base_mean: float | None = None


def check_gates(gates: Sequence[Gate], comparison: Comparison) -> None:
    """Raises InvalidArgument on a gate that can't be decided: unknown figure, no bound, nothing to compare with."""
    for gate in gates:
        field = f"gates.{gate.figure}"
        if gate.figure not in FIGURES:
            raise InvalidArgument(f"no figure {gate.figure!r} to gate; there are {', '.join(FIGURES)}", field="gates")
        bounds = [
            bound
            for name, bound in (("min", gate.min), ("max", gate.max))
            if gate.HasField(name)  # type: ignore[arg-type]
        ]
        if len(bounds) != 1 or not math.isfinite(bounds[0]):
            raise InvalidArgument(f"gate {gate.figure} needs one of min and max, a finite number", field=field)
        if gate.figure == "gap" and comparison.reference_score is None:
            raise InvalidArgument("gate gap needs a reference score above 0; give one or drop the gate", field=field)
        if gate.figure == "margin_over_base" and comparison.base_mean is None:
            raise InvalidArgument(
                "gate margin_over_base needs an evaluation of the base model (baseline); give one or drop the gate",
                field=field,
            )


def gap(mean: float, reference_score: float | None) -> float:
    """(reference - mean) / reference; 0 where there is no reference."""
    return (reference_score - mean) / reference_score if reference_score else 0.0


def decide(gates: Sequence[Gate], evaluation: Evaluation, comparison: Comparison) -> list[GateResult]:
    """Each gate's verdict, in their order."""
    figures = _figures(evaluation, comparison)
    return [_decide(gate, figures[gate.figure]) for gate in gates]


def _figures(evaluation: Evaluation, comparison: Comparison) -> Mapping[str, float]:
    mean = evaluation.scores.mean
    return {
        "score_mean": mean,
        "score_min": evaluation.scores.min,
        "gap": gap(mean, comparison.reference_score),
        "valid_rate": evaluation.valid_rate,
        "guard_rate": evaluation.guard_rate,
        "median_seconds": evaluation.median_seconds,
        "margin_over_base": mean - (comparison.base_mean or 0.0),
    }


def _decide(gate: Gate, value: float) -> GateResult:
    if gate.HasField("min"):
        passed = value >= gate.min
        words = f"{_number(value)} is {'at least' if passed else 'below'} {_number(gate.min)}"
    else:
        passed = value <= gate.max
        words = f"{_number(value)} is {'at most' if passed else 'above'} {_number(gate.max)}"
    return GateResult(gate=gate, value=value, passed=passed, reason=f"{gate.figure} {words}")


def _number(value: float) -> str:
    return f"{value:.4g}"
