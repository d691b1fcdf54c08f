"""What a person sees of a generation, over all its stages."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from generation_fixture import GOOD, POOR, Run, ScriptedAsker, asked_about, concepts, logged, stage
from stillhouse.teacher_generator.ledger import StageTally
from stillhouse.teacher_generator.progress import Reporter
from stillhouse.teachers.figures import Figures
from stillhouse.v1.common_pb2 import Progress


@dataclass
class Seen:
    """An asker as the reporter sees it."""

    figures: Figures


def test_progress_counts_records_rates_scores_calls_and_cost_over_all_stages() -> None:
    heard: list[Progress] = []
    run = Run(
        [stage("pro", records=2), stage("flash", until=6)],
        {
            "pro": ScriptedAsker(lambda asked: logged(GOOD if asked_about(asked) in ("q1", "q4") else POOR), width=1),
            "flash": ScriptedAsker(lambda _: logged(GOOD), width=1),
        },
        concepts(10),
        on_progress=lambda tally, stage: reporter.settled(tally, stage),
    )
    reporter = Reporter(run.ledger, heard.append)
    for calls in (4, 3):
        reporter.opened(Seen(Figures(calls=calls, prompt_tokens=10, output_tokens=5, cost_usd=0.5, in_flight=calls)))  # type: ignore[arg-type]
    run.run()
    last = heard[-1]
    assert (last.done, last.total, last.unit) == (6, 6, "records")
    assert last.message == "stage flash: target reached"
    figures = dict(last.figures)
    assert (figures["attempted"], figures["acceptance_rate"]) == (4, 1.0)
    assert (figures["score_last"], figures["score_mean"]) == (1.0, 1.0)
    assert (figures["calls"], figures["tokens"], figures["in_flight"]) == (7, 30, 3)
    assert figures["cost_usd"] == pytest.approx(1.0)
    assert "stage pro: target reached" in [progress.message for progress in heard]


def test_progress_says_what_keeps_the_teacher_from_answering_until_the_stage_ends() -> None:
    heard: list[Progress] = []
    reporter = Reporter(Run([stage("pro")], {}).ledger, heard.append)
    reporter.opened(Seen(Figures(trouble="vertex:pro is unavailable (4 times so far)")))  # type: ignore[arg-type]
    for ended in ("", "stopping"):
        reporter.settled(StageTally("pro", ended=ended), stage("pro", records=2))
    assert [progress.message for progress in heard] == [
        "stage pro: vertex:pro is unavailable (4 times so far)",
        "stage pro: stopping",
    ]
