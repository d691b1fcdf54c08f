"""What Prometheus reads of the controller. Called by the shell and the reconciler."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stillhouse.controller.cluster.timestamps import seconds_of

Status = Mapping[str, Any]

_OF = ("namespace", "name")


class ControllerMetrics:
    """Counts and times of looks."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Registers them."""
        self._seconds = Histogram(
            "stillhouse_reconcile_seconds", "Seconds of one look at a Distillation", registry=registry
        )
        self._failures = Counter(
            "stillhouse_reconcile_failures_total", "Looks at a Distillation that failed", registry=registry
        )

    @contextmanager
    def look(self) -> Iterator[None]:
        """Around one look."""
        with self._seconds.time(), self._failures.count_exceptions():
            yield


class DistillationMetrics(Collector):
    """Figures of all Distillations, as their status says them. Safe to share between threads."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Registers them."""
        self._lock = threading.Lock()
        self._statuses: dict[tuple[str, str], Status] = {}
        registry.register(self)

    def see(self, namespace: str, name: str, status: Status | None) -> None:
        """What a Distillation's status is now; None for one that is gone."""
        with self._lock:
            if status is None:
                self._statuses.pop((namespace, name), None)
            else:
                self._statuses[namespace, name] = status

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        with self._lock:
            statuses = dict(self._statuses)
        stage = GaugeMetricFamily(
            "stillhouse_distillation_stage", "1 for the stage where a Distillation is", labels=[*_OF, "stage"]
        )
        seconds = GaugeMetricFamily(
            "stillhouse_distillation_step_seconds", "Seconds from a step's start to its end", labels=[*_OF, "step"]
        )
        figures = {
            "records": _figure("stillhouse_distillation_records", "Records of the data set, so far"),
            "score": _figure("stillhouse_distillation_score", "Mean score of the student on held-out data"),
            "gap": _figure("stillhouse_distillation_gap", "(reference - student) / reference, of mean scores"),
            "costUsd": _figure("stillhouse_distillation_cost_usd", "What paid answers have cost"),
        }
        for of, status in statuses.items():
            stage.add_metric([*of, status.get("stage", "")], 1)
            for step in status.get("steps", []):
                if "startTime" in step and "finishTime" in step:
                    took = seconds_of(step["finishTime"]) - seconds_of(step["startTime"])
                    seconds.add_metric([*of, step["name"]], max(0.0, took))
            for name, family in figures.items():
                if name in status:
                    family.add_metric(list(of), float(status[name]))
        return [stage, seconds, *figures.values()]


def _figure(name: str, words: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=_OF)
