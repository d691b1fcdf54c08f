"""What Prometheus reads of a server: calls by method and code, their seconds, those in flight; and the process.

Called by `server` where STILLHOUSE_METRICS_PORT is set, and by mains that have more to say: they register it.
It must not know any service.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from stillhouse.errors import FailedPrecondition
from stillhouse.rpc.interceptors import Ended, WatchingInterceptor

# A score takes milliseconds, an answer seconds, a training hours.
_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


class MetricsListener:
    """What a registry holds, over HTTP on all interfaces of this machine: nothing else is there to be read."""

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        """0 for any free port. Raises FailedPrecondition where it is in use."""
        try:
            self._server, self._thread = start_http_server(port, registry=registry)
        except OSError as exc:
            raise FailedPrecondition(
                f"can't serve metrics on port {port}: {exc.strerror or exc}; choose another STILLHOUSE_METRICS_PORT",
                field="metrics_port",
            ) from exc
        self.port = self._server.server_port

    def close(self) -> None:
        """Ends it. A second time is fine."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def process_registry() -> CollectorRegistry:
    """A new registry that holds memory, processor time and the like of this process."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class MetricsInterceptor(WatchingInterceptor):
    """Counts and times calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers the metrics."""
        self._calls = Counter(
            "stillhouse_rpc_calls_total", "Calls that ended, by status code", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "stillhouse_rpc_seconds",
            "Seconds of a call, of a stream to its end",
            ["method"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "stillhouse_rpc_in_flight", "Calls that are being worked on", ["method"], registry=registry
        )

    @contextmanager
    def watch(self, method: str, context: grpc.ServicerContext) -> Iterator[Ended]:  # noqa: ARG002 - traces ask it
        """See WatchingInterceptor."""
        started = time.monotonic()

        def ended(code: grpc.StatusCode) -> None:
            self._seconds.labels(method).observe(time.monotonic() - started)
            self._calls.labels(method, code.name).inc()

        with self._in_flight.labels(method).track_inprogress():
            yield ended
