"""What Prometheus reads of the test server: its bill. Called by `server` where STILLHOUSE_METRICS_PORT is set."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from stillhouse.rpc.metrics import MetricsListener, process_registry
from stillhouse.vertex_emulator.bill import Bill


class BillCollector(Collector):
    """Reads the bill when it is asked to."""

    def __init__(self, bill: Bill) -> None:
        """Of one server."""
        self._bill = bill

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        counts = self._bill.snapshot()
        refused = CounterMetricFamily(
            "stillhouse_emulator_refused_total", "Calls that got no answer, by what became of them", labels=["reason"]
        )
        for reason in ("throttled", "unavailable", "stalled", "unauthenticated"):
            refused.add_metric([reason], counts[reason])
        tokens = CounterMetricFamily("stillhouse_emulator_tokens_total", "Tokens that were billed", labels=["kind"])
        for kind in ("prompt", "output"):
            tokens.add_metric([kind], counts[f"{kind}_tokens"])
        return [
            CounterMetricFamily("stillhouse_emulator_requests_total", "Calls that came", counts["requests"]),
            GaugeMetricFamily("stillhouse_emulator_in_flight", "Calls that wait for an answer", counts["in_flight"]),
            CounterMetricFamily("stillhouse_emulator_billed_total", "Calls that were billed", counts["billed_calls"]),
            refused,
            tokens,
        ]


def serve_metrics(port: int, bill: Bill) -> MetricsListener:
    """Until it is closed. Raises FailedPrecondition where the port is in use."""
    registry = process_registry()
    registry.register(BillCollector(bill))
    return MetricsListener(port, registry)
