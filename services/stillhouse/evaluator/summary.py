"""An evaluation as JSON, and back as far as a later evaluation compares with it.

Called by the evaluation and the command line; the same document is the stage's summary artifact and EVAL.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.figures import Findings, RowResult, failures_by_reason, findings_by_tier, findings_of
from stillhouse.v1.evaluator_pb2 import Evaluation, GateResult
from stillhouse.v1.record_pb2 import ScoreStatistics

SUMMARY_VERSION = 1


@dataclass(frozen=True)
class Subject:
    """What was evaluated, on what, and how the answers were asked for."""

    role: str
    role_version: int
    model_sha256: str
    """Empty where the student does not say."""
    validation_sha256: str
    constraint: str
    """`role_grammar` or `none`."""
    max_tokens: int
    temperature: float
    seed: int
    metric: str
    """`module:function`; empty for the role's."""
    concurrency: int = 1
    """Questions in flight at a time; seconds of an answer are measured with one."""
    program: str = ""
    """Digest of the optimised program that the model was asked with; empty for the role's own prompt."""


@dataclass(frozen=True)
class Baseline:
    """What a later evaluation needs of an earlier one."""

    mean: float
    validation_sha256: str
    constraint: str
    metric: str
    model_sha256: str


def summary_document(
    subject: Subject,
    evaluation: Evaluation,
    results: Sequence[RowResult],
    comparison: Mapping[str, Any],
    gates: Sequence[GateResult],
) -> dict[str, Any]:
    """The whole evaluation; `comparison` holds reference, gap and baseline as `comparison_document` made them."""
    return {
        "summary_version": SUMMARY_VERSION,
        "role": {"name": subject.role, "version": subject.role_version},
        "model_sha256": subject.model_sha256,
        "validation_sha256": subject.validation_sha256,
        "constraint": subject.constraint,
        "metric": subject.metric,
        "program": subject.program or None,
        "sampling": {"max_tokens": subject.max_tokens, "temperature": subject.temperature, "seed": subject.seed},
        "concurrency": subject.concurrency,
        "scores": statistics_document(evaluation.scores),
        "valid_rate": evaluation.valid_rate,
        "guard_rate": evaluation.guard_rate,
        "median_seconds": evaluation.median_seconds,
        "tokens_per_second": evaluation.tokens_per_second,
        "cut_at_max_tokens": sum(result.finish_reason == "length" for result in results),
        "failed_rows": failures_by_reason(results),
        "by_tier": {tier: statistics_document(scores) for tier, scores in sorted(evaluation.by_tier.items())},
        "parts": dict(sorted(evaluation.parts.items())),
        "guard_counts": dict(sorted(evaluation.guard_counts.items())),
        "findings": findings_document(results),
        **comparison,
        "gates": [gate_document(gate) for gate in gates],
        "passed": all(gate.passed for gate in gates),
        "rows": [_row_figures(result) for result in results],
    }


def comparison_document(
    *, mean: float, gap: float, reference_score: float | None, reference_source: str, baseline: Baseline | None
) -> dict[str, Any]:
    """What the mean is compared with; null where there is nothing."""
    reference = None
    if reference_score is not None:
        reference = {"score": reference_score, "source": reference_source}
    compared = None
    if baseline is not None:
        margin = mean - baseline.mean
        compared = {"mean": baseline.mean, "margin": margin, "model_sha256": baseline.model_sha256}
    return {"reference": reference, "gap": None if reference is None else gap, "baseline": compared}


def gate_document(result: GateResult) -> dict[str, Any]:
    """One gate's bound and verdict."""
    gate = result.gate
    return {
        "figure": gate.figure,
        "min": gate.min if gate.HasField("min") else None,
        "max": gate.max if gate.HasField("max") else None,
        "value": result.value,
        "passed": result.passed,
        "reason": result.reason,
    }


def statistics_document(scores: ScoreStatistics) -> dict[str, float | int]:
    """Count, mean, median, min, max, std."""
    return {
        "count": int(scores.count),
        "mean": scores.mean,
        "median": scores.median,
        "min": scores.min,
        "max": scores.max,
        "std": scores.std,
    }


def findings_document(results: Sequence[RowResult]) -> dict[str, Any]:
    """By kind, and under `by_tier` by tier and kind; empty where no row's labels speak of planted findings."""
    kinds = {kind: _findings(found) for kind, found in findings_of(results).items()}
    if not kinds:
        return {}
    tiers = {
        tier: {kind: _findings(found) for kind, found in findings.items()}
        for tier, findings in findings_by_tier(results).items()
    }
    return {**kinds, "by_tier": tiers}


def row_document(result: RowResult) -> dict[str, Any]:
    """One row in full, for the rows artifact."""
    return {
        **_row_figures(result),
        "inputs": dict(result.inputs),
        "labels": dict(result.labels),
        "answer": result.answer,
        "outputs": dict(result.outputs),
        "problems": list(result.problems),
        "parts": dict(result.parts),
    }


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Indented UTF-8 JSON with a line break at its end."""
    return (json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def read_baseline(data: bytes, *, source: str) -> Baseline:
    """An earlier evaluation. Raises InvalidArgument where `data` is none."""
    try:
        document = json.loads(data)
        return Baseline(
            mean=float(document["scores"]["mean"]),
            validation_sha256=str(document["validation_sha256"]),
            constraint=str(document["constraint"]),
            metric=str(document["metric"]),
            model_sha256=str(document["model_sha256"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InvalidArgument(f"{source} is no EVAL.json of stillhouse evaluate: {exc}", field="baseline") from exc


def check_comparable(baseline: Baseline, subject: Subject) -> None:
    """Raises InvalidArgument where the base model was asked other rows, or under other conditions."""
    for name, base, own in (
        ("validation rows", baseline.validation_sha256, subject.validation_sha256),
        ("constraint", baseline.constraint, subject.constraint),
        ("metric", baseline.metric, subject.metric),
    ):
        if base != own:
            raise InvalidArgument(
                f"the baseline can't be compared: its {name} {base[:12] or 'of the role'!r} are not this evaluation's "
                f"{own[:12] or 'of the role'!r}; evaluate the base model alike",
                field="baseline",
            )


def _findings(found: Findings) -> dict[str, float | int | None]:
    return {
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
        "planted": found.planted,
        "found": found.found,
        "missed": found.missed,
        "invented": found.invented,
    }


def _row_figures(result: RowResult) -> dict[str, Any]:
    return {
        "id": result.row_id,
        "concept_id": result.labels.get("concept_id"),
        "tier": result.labels.get("tier"),
        "score": result.score,
        "valid": result.valid,
        "guards": [{"guard": finding.guard, "reason": finding.reason} for finding in result.guards],
        "detections": {
            kind: {"found": counts.found, "missed": counts.missed, "invented": counts.invented}
            for kind, counts in result.detections.items()
        },
        "seconds": result.seconds,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "finish_reason": result.finish_reason,
        "failure": {"reason": result.failure, "message": result.failure_message} if result.failure else None,
    }
