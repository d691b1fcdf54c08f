"""The funnel from the teacher's calls to the rows that train. Pure; called by `reading`."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.report import words
from stillhouse.report.facts import FunnelStep, Left, Teaching
from stillhouse.report.teaching import SURPLUS
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult


def funnel_of(
    teaching: Teaching | None, request: BuildDatasetRequest | None, result: BuildDatasetResult | None
) -> tuple[FunnelStep, ...]:
    """Calls, answers, accepted, records, read, kept, train, tuning, validation, as far as there are any."""
    return (*_taught(teaching), *_built(teaching, request, result))


def _taught(teaching: Teaching | None) -> Sequence[FunnelStep]:
    if teaching is None:
        return ()
    kinds = ", ".join(
        f"{words.count(kind.count)} {words.KINDS.get(kind.reason, kind.reason)}" for kind in teaching.calls_by_kind
    )
    answers = teaching.calls - sum(left.count for left in teaching.unread)
    surplus = max(teaching.accepted - teaching.records, 0)
    return (
        FunnelStep("Calls to the teacher", teaching.calls, note=kinds),
        FunnelStep("Answers", answers, teaching.unread),
        FunnelStep("Accepted", teaching.accepted, teaching.refused),
        FunnelStep("Records", teaching.records, (Left(SURPLUS, surplus),) if surplus else ()),
    )


def _built(
    teaching: Teaching | None, request: BuildDatasetRequest | None, result: BuildDatasetResult | None
) -> Sequence[FunnelStep]:
    if request is None or result is None:
        return ()
    refused = [Left(code, count) for code, count in result.refused_by_reason.items() if count]
    refused.sort(key=lambda left: (-left.count, left.reason))
    given = request.HasField("validation")
    imported = result.rows_read - (teaching.records if teaching else 0)
    mixed = f"{words.count(imported)} of them imported" if teaching and imported > 0 else ""
    kept = result.rows_read - sum(left.count for left in refused)
    validation = "a file of its own, not from these rows" if given else "held out: never trained on"
    steps = [
        FunnelStep("Rows read", result.rows_read, note=mixed),
        FunnelStep("Data set", kept, tuple(refused)),
        FunnelStep("Train", result.train_records, note="to learn from"),
        FunnelStep("Tuning", result.tuning_records, note="to choose the best checkpoint"),
        FunnelStep("Validation", result.validation_records, note=validation),
    ]
    return steps[1:] if teaching and imported == 0 else steps
