"""Judges one answer by its role: parse, models, metric over the raw output text, all guards, findings. Pure.

Called by the evaluation for every row that was asked; knows neither student nor store.
"""

from __future__ import annotations

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.evaluator.asking import FailedAnswer
from stillhouse.evaluator.figures import RowResult
from stillhouse.evaluator.rows import EvaluationRow
from stillhouse.roles.metric_reference import Metric
from stillhouse.roles.role import Role
from stillhouse.roles.scoring import score_record


def judge(row: EvaluationRow, answer: LoggedAnswer | FailedAnswer, role: Role, metric: Metric | None) -> RowResult:
    """The row's result; a failed row has score 0, is not valid, has found nothing. `metric` replaces the role's.

    Raises InvalidArgument where a metric of the user's own fails.
    """
    if isinstance(answer, FailedAnswer):
        return RowResult(
            row_id=row.row_id,
            inputs=row.inputs,
            labels=row.labels,
            failure=answer.reason,
            failure_message=answer.message,
            detections=role.detections(row.labels, {}),
        )
    verdict = score_record(role, row.inputs, response=answer.text, metric=metric)
    return RowResult(
        row_id=row.row_id,
        inputs=row.inputs,
        labels=row.labels,
        answer=answer.text,
        outputs=verdict.outputs,
        score=verdict.score,
        parts=verdict.parts,
        valid=verdict.valid,
        problems=verdict.problems,
        guards=verdict.guards,
        seconds=answer.latency_seconds,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        finish_reason=answer.finish_reason,
        detections=role.detections(row.labels, verdict.outputs),
    )
