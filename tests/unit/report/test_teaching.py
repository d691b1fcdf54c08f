"""The figures of the teacher's calls: by model, by reason, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from report_calls import call
from stillhouse.dataset.lines import Row
from stillhouse.errors import InvalidArgument
from stillhouse.report.facts import Left, Teaching
from stillhouse.report.losses import loss_points
from stillhouse.report.scores import ScoreTally
from stillhouse.report.teaching import PaceCollector, teaching_of
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult, TeacherStage


def teaching(*calls: dict[str, Any], bounds: Sequence[float] = (0.8,), records: int = 1) -> Teaching:
    rows = [Row(values, "calls.jsonl", line) for line, values in enumerate(calls, start=1)]
    request = GenerateRecordsRequest(stages=[TeacherStage(min_score=bound) for bound in bounds])
    return teaching_of(rows, request, GenerateRecordsResult(record_count=records, cost_usd=0.5), tiers=("simple",))


def test_refusals_are_counted_by_reason_and_those_without_an_answer_apart() -> None:
    made = teaching(
        call(0),
        call(1, accepted=False, reason="low_score", score=0.5),
        call(2, accepted=False, reason="low_score", score=0.6),
        call(3, accepted=False, reason="guard:repetition"),
        call(4, accepted=False, reason="blocked", score=None),
    )
    assert made.refused == (Left("low_score", 2), Left("guard:repetition", 1))
    assert made.unread == (Left("blocked", 1),)
    assert made.accepted == 1


def test_a_models_line_counts_repairs_and_missing_blocks() -> None:
    made = teaching(
        call(0, accepted=False, reason="missing_block", score=None),
        call(1, kind="repair"),
        call(2, kind="repair", accepted=False, reason="missing_block", score=None),
    )
    (model,) = made.models
    assert (model.calls, model.missing_blocks, model.repairs, model.repaired) == (3, 2, 2, 1)
    assert model.tokens == 3 * 1900
    assert made.calls_by_kind == (Left("repair", 2), Left("first", 1))


def test_models_are_ordered_by_their_calls_and_have_a_histogram_each() -> None:
    made = teaching(call(0, model="pro"), call(1), call(2))
    assert [model.model for model in made.models] == ["gemini-2.5-flash", "pro"]
    by_model, by_tier = made.histograms
    assert {group.name for group in by_model.groups} == {"gemini-2.5-flash", "pro"}
    assert by_tier.groups[0].name == "simple"


def test_stages_with_different_bounds_draw_no_bound() -> None:
    assert teaching(call(0)).histograms[0].bound == 0.8
    assert teaching(call(0), bounds=(0.85, 0.8)).histograms[0].bound is None


def test_a_call_without_its_fields_is_still_counted() -> None:
    made = teaching({})
    assert made.calls == 1
    assert made.models[0].model == "unknown model"
    assert made.pace is None


def test_a_line_that_is_no_call_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"calls.jsonl:2 is no call of a teacher"):
        teaching(call(0), call(1, prompt_tokens="many"))


def test_pace_keeps_every_call_however_long_the_work_took() -> None:
    collector = PaceCollector()
    for day in range(1, 29):
        collector.take(f"2026-11-{day:02}T10:00:00Z", 5.0, day % 2 == 0, 0.25)
    pace = collector.pace()
    assert pace is not None
    assert len(pace.points) <= 48
    assert sum(point.calls for point in pace.points) == 28
    assert sum(point.accepted for point in pace.points) == 14
    assert pace.points[-1].cost_usd == pytest.approx(7.0)
    costs = [point.cost_usd for point in pace.points]
    assert costs == sorted(costs)


def test_a_score_on_an_edge_belongs_above_it_and_one_to_the_last_bin() -> None:
    tally = ScoreTally()
    for score in (0.82, 0.8299, 0.83, 1.0):
        tally.add("all", score)
    histogram = tally.histogram("", of="rows")
    assert histogram is not None
    assert (histogram.lower, histogram.width) == (0.8, 0.01)
    (group,) = histogram.groups
    assert group.counts[2:4] == (2, 1)
    assert group.counts[-1] == 1
    assert len(group.counts) == 20


def test_many_groups_are_shown_as_the_largest_and_the_others() -> None:
    tally = ScoreTally()
    for index in range(60):
        for _ in range(60 - index):
            tally.add(f"model {index}", 0.5)
    histogram = tally.histogram("", of="rows")
    assert histogram is not None
    assert [group.name for group in histogram.groups][:2] == ["model 0", "model 1"]
    assert histogram.groups[-1].name == "others"
    assert sum(group.count for group in histogram.groups) == len(tally) == 60 * 61 // 2


def test_a_long_loss_curve_is_thinned_and_keeps_its_tuning_losses() -> None:
    rows = [{"step": step, "loss": 1.0, **({"tuning_loss": 2.0} if step == 777 else {})} for step in range(1, 5001)]
    points = loss_points(rows)
    assert len(points) < 300
    assert points[-1].step == 5000
    assert [point.tuning_loss for point in points if point.tuning_loss is not None] == [2.0]
