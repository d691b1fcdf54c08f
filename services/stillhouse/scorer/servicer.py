"""Translates between the scorer's messages and its work; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from stillhouse.roles.scoring import RecordScore
from stillhouse.scorer.scoring import ScoringJob, ScoringLimits, score
from stillhouse.v1 import record_pb2, scorer_pb2
from stillhouse.v1.scorer_pb2_grpc import ScorerServiceServicer


class ScorerServicer(ScorerServiceServicer):
    """Score and StreamScore."""

    def __init__(self, limits: ScoringLimits) -> None:
        """`limits` are what this server permits."""
        self._limits = limits

    def Score(  # noqa: N802 - named by the proto
        self,
        request: scorer_pb2.ScoreRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - grpc passes it
    ) -> scorer_pb2.ScoreResponse:
        """One record."""
        return scorer_pb2.ScoreResponse(score=self._scored(request))

    def StreamScore(  # noqa: N802 - named by the proto
        self,
        request_iterator: Iterator[scorer_pb2.StreamScoreRequest],
        context: grpc.ServicerContext,  # noqa: ARG002 - grpc passes it
    ) -> Iterator[scorer_pb2.StreamScoreResponse]:
        """One response a request, in order."""
        for request in request_iterator:
            yield scorer_pb2.StreamScoreResponse(score=self._scored(request))

    def _scored(self, request: scorer_pb2.ScoreRequest | scorer_pb2.StreamScoreRequest) -> record_pb2.Score:
        record = request.record
        job = ScoringJob(request.role, dict(record.inputs), dict(record.outputs), record.response, request.metric)
        return _message(score(job, self._limits))


def _message(verdict: RecordScore) -> record_pb2.Score:
    return record_pb2.Score(
        score=verdict.score,
        parts=verdict.parts,
        valid=verdict.valid,
        problems=verdict.problems,
        guards=[record_pb2.GuardFinding(guard=found.guard, reason=found.reason) for found in verdict.guards],
    )
