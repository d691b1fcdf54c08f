"""What a person sees of a generation: records, rates, scores, calls in flight, tokens, cost, time left.

Fed by the generation after every concept; reports at most twice a second.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from stillhouse.teacher_generator.asking import StageAsker
from stillhouse.teacher_generator.ledger import Ledger, StageTally
from stillhouse.teacher_generator.options import StageOptions
from stillhouse.v1.common_pb2 import Progress

_REPORT_SECONDS = 0.5


class Reporter:
    """Progress of one generation."""

    def __init__(self, ledger: Ledger, report: Callable[[Progress], None]) -> None:
        """`report` hears of every progress."""
        self._ledger = ledger
        self._report = report
        self._askers: list[StageAsker] = []
        self._reported_at = float("-inf")
        self._started_at = monotonic()
        self._accepted_before = 0

    def opened(self, asker: StageAsker) -> None:
        """A stage begins to ask: the pace is measured from here."""
        self._askers.append(asker)
        self._started_at = monotonic()
        self._accepted_before = self._ledger.records

    def settled(self, tally: StageTally, stage: StageOptions) -> None:
        """A concept is settled, or the stage has ended."""
        if not tally.ended and monotonic() - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = monotonic()
        remaining = stage.remaining(tally.accepted, self._ledger.records)
        said = tally.ended or (self._askers[-1].figures.trouble if self._askers else "")
        message = f"stage {stage.name}" + (f": {said}" if said else "")
        self._report(
            Progress(
                stage="generate",
                message=message,
                done=self._ledger.records,
                total=self._ledger.records + remaining if remaining is not None else 0,
                unit="records",
                figures=self._figures(tally),
                eta_seconds=self._eta(remaining),
            )
        )

    def _figures(self, tally: StageTally) -> dict[str, float]:
        everything = self._ledger.figures.all_models
        figures = {
            "attempted": float(tally.attempted),
            "acceptance_rate": tally.accepted / tally.attempted if tally.attempted else 0.0,
            "repair_rate": everything.repairs_accepted / everything.repairs if everything.repairs else 0.0,
            "score_mean": everything.accepted_scores.mean,
            "score_last": self._ledger.last_score or 0.0,
            "dead_letters": float(self._ledger.figures.dead_letters),
        }
        if self._askers:
            seen = [asker.figures for asker in self._askers]
            figures |= {
                "calls": float(sum(each.calls for each in seen)),
                "from_log": float(sum(each.from_log for each in seen)),
                "in_flight": float(seen[-1].in_flight),
                "throttled": float(sum(each.throttled for each in seen)),
                "tokens": float(sum(each.prompt_tokens + each.output_tokens for each in seen)),
                "cost_usd": sum(each.cost_usd for each in seen),
            }
        return figures

    def _eta(self, remaining: int | None) -> float:
        accepted = self._ledger.records - self._accepted_before
        seconds = monotonic() - self._started_at
        return remaining * seconds / accepted if remaining and accepted and seconds > 1 else 0.0
