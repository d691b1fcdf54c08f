"""The loss curve of a training, thinned to what a chart can show. Pure; called by `reading`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stillhouse.report.facts import LossPoint
from stillhouse.report.teaching import number

_MAX_POINTS = 240


def loss_points(rows: Iterable[Mapping[str, Any]]) -> tuple[LossPoint, ...]:
    """A point a step; of a longer training the mean over equally many steps. Tuning losses are all kept."""
    trained: list[tuple[int, float]] = []
    tuned: dict[int, float] = {}
    for row in rows:
        step = int(number(row, "step"))
        if "loss" in row:
            trained.append((step, number(row, "loss")))
        if "tuning_loss" in row:
            tuned[step] = number(row, "tuning_loss")
    size = -(-len(trained) // _MAX_POINTS) or 1
    blocks = [trained[start : start + size] for start in range(0, len(trained), size)]
    points = {block[-1][0]: sum(loss for _, loss in block) / len(block) for block in blocks}
    return tuple(LossPoint(step, points.get(step), tuned.get(step)) for step in sorted(points.keys() | tuned.keys()))
