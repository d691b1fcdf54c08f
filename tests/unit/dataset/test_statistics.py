"""Figures of a data set against the standard library's."""

from __future__ import annotations

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.dataset.statistics import DatasetStatistics, RunningScores, ScoreSummary, StatisticsCollector


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_running_figures_are_those_of_the_whole_list(scores: list[float]) -> None:
    running = RunningScores()
    for score in scores:
        running.add(score)
    found = running.summary()
    assert found.count == len(scores)
    assert found.mean == pytest.approx(statistics.fmean(scores), abs=1e-12)
    assert found.std == pytest.approx(statistics.pstdev(scores), abs=1e-9)
    assert found.median == pytest.approx(statistics.median(scores), abs=1e-12)
    assert (found.min, found.max) == (min(scores), max(scores))


def test_no_scores_give_zeros() -> None:
    assert RunningScores().summary() == ScoreSummary()


def test_the_funnel_adds_up_and_reads_as_a_sentence() -> None:
    collector = StatisticsCollector()
    for reason in ("low_score", "contaminated", "low_score"):
        collector.refuse(reason)
    collector.keep(0.9, {})
    assert str(collector.funnel()) == "4 read, 1 contaminated, 2 low_score, 1 kept"


def test_figures_are_given_by_label_and_by_threshold() -> None:
    collector = StatisticsCollector()
    for score, tier in [(0.55, "simple"), (0.85, "simple"), (0.95, "medium"), (None, "medium")]:
        if score is not None:
            collector.offer(score)
        collector.keep(score, {"tier": tier})
    collector.offer(0.1)
    found = collector.statistics(groups=3, extra={"note": "x"})
    assert found.by_label["tier"]["simple"].mean == pytest.approx(0.7)
    assert found.by_label["tier"]["medium"].count == 1
    assert [(line.threshold, line.count) for line in found.by_threshold] == [
        (0.5, 3), (0.6, 2), (0.7, 2), (0.75, 2), (0.8, 2), (0.85, 2), (0.9, 1), (0.95, 1),
    ]  # fmt: skip
    assert (found.unscored, found.groups) == (1, 3)
    assert DatasetStatistics.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_a_label_that_is_a_list_of_ids_is_told_as_whether_it_holds_any() -> None:
    collector = StatisticsCollector()
    for number in range(100):
        gaps = json.dumps([f"FR{number:03}"] if number < 40 else [])
        collector.keep(0.5 if number < 40 else 1.0, {"planted_gaps": gaps, "tier": "[draft"})
    found = collector.statistics(groups=1).by_label
    counts = {value: (scores.count, scores.mean) for value, scores in found["planted_gaps"].items()}
    assert counts == {"none": (60, 1.0), "some": (40, 0.5)}
    assert set(found["tier"]) == {"[draft"}


def test_a_label_with_very_many_values_is_left_out() -> None:
    collector = StatisticsCollector()
    for number in range(100):
        collector.keep(0.9, {"concept_id": str(number), "few": str(number % 2), "one": "x"})
    assert set(collector.statistics(groups=1).by_label) == {"few", "one"}
