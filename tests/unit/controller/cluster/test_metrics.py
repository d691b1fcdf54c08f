"""What Prometheus reads of Distillations is what their status says, as long as they are there."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from fake_cluster import NAMESPACE, SETTINGS, FakeCluster
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import DISTILLATIONS
from stillhouse.controller.cluster.metrics import DistillationMetrics
from stillhouse.controller.cluster.reconcile import Reconciler

STATUS: dict[str, Any] = {
    "stage": "evaluate",
    "records": 42,
    "score": "0.812",
    "gap": "0.310",
    "costUsd": "1.2500",
    "steps": [
        {"name": "generate", "startTime": "2026-01-01T00:00:00Z", "finishTime": "2026-01-01T00:01:30Z"},
        {"name": "train", "startTime": "2026-01-01T00:01:30Z"},
        {"name": "export", "finishTime": "2026-01-01T00:00:00Z"},
    ],
}


def values(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("stillhouse_distillation_"), *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_figures_of_a_status_are_gauges() -> None:
    registry = CollectorRegistry()
    DistillationMetrics(registry).see("team", "first", STATUS)
    assert values(registry) == {
        ("stage", "team", "first", "evaluate"): 1,
        ("step_seconds", "team", "first", "generate"): 90,
        ("records", "team", "first"): 42,
        ("score", "team", "first"): 0.812,
        ("gap", "team", "first"): 0.31,
        ("cost_usd", "team", "first"): 1.25,
    }


def test_what_is_not_known_yet_is_not_said() -> None:
    registry = CollectorRegistry()
    DistillationMetrics(registry).see("team", "first", {"stage": "Pending"})
    assert values(registry) == {("stage", "team", "first", "Pending"): 1}


def test_a_distillation_that_is_gone_has_no_metrics(tmp_path: Any) -> None:
    registry = CollectorRegistry()
    metrics = DistillationMetrics(registry)
    cluster, store = FakeCluster(), Store.open(str(tmp_path))
    rows = store.put_bytes(b'{"concept": "x"}\n', name="rows.jsonl")
    reconciler = Reconciler(cluster, SETTINGS, open_store=lambda _uri: store, on_status=metrics.see)
    cluster.submit("first", {"role": "product_owner", "dataset": {"imports": [{"uri": f"sha256:{rows.sha256}"}]}})
    reconciler.reconcile(NAMESPACE, "first")
    assert ("stage", NAMESPACE, "first", "dataset") in values(registry)
    del cluster.objects[next(key for key in cluster.objects if key[0] == DISTILLATIONS.plural or key[2] == "first")]
    reconciler.reconcile(NAMESPACE, "first")
    assert values(registry) == {}
