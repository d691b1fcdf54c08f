"""What Prometheus reads of the controller. Called by the shell and the reconciler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram


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
