"""`python -m stillhouse.controller`: the controller of a cluster. Started by the chart's Deployment.

The one place that reads its environment: STILLHOUSE_SETTINGS, the store's credentials, ports.
"""

from __future__ import annotations

import os
import sys

from stillhouse.rpc.process import hold_signals

hold_signals()

import structlog  # noqa: E402 - signals first

from stillhouse.errors import EXIT_DONE, EXIT_USAGE, InvalidArgument, StillhouseError  # noqa: E402
from stillhouse.rpc.logs import configure_logging  # noqa: E402
from stillhouse.rpc.process import stop_on_signals  # noqa: E402
from stillhouse.rpc.tracing import configure_tracing  # noqa: E402

_HEALTH_PORT = 8080
_METRICS_PORT = 9090
_LAST_PORT = 65_535


def main() -> int:
    """Watches until it is asked to stop; the exit code is that of the table in `stillhouse.errors`."""
    configure_logging("controller")
    configure_tracing("controller", os.environ)
    log = structlog.get_logger("stillhouse.controller")
    try:
        with stop_on_signals() as stop:
            from prometheus_client import REGISTRY

            from stillhouse.controller.cluster.api import KubernetesApi
            from stillhouse.controller.cluster.metrics import ControllerMetrics, DistillationMetrics
            from stillhouse.controller.cluster.reconcile import Reconciler
            from stillhouse.controller.cluster.settings import read_settings
            from stillhouse.controller.cluster.shell import Shell
            from stillhouse.rpc.metrics import MetricsListener

            settings = read_settings(os.environ)
            reconciler = Reconciler(KubernetesApi.connect(), settings, on_status=DistillationMetrics().see)
            MetricsListener(_port("STILLHOUSE_METRICS_PORT", _METRICS_PORT), REGISTRY)
            log.info("watching", namespaces=settings.namespaces, store=settings.store)
            shell = Shell(reconciler.reconcile, ControllerMetrics())
            shell.run(settings.namespaces, stop=stop.event, health_port=_port("STILLHOUSE_HEALTH_PORT", _HEALTH_PORT))
    except StillhouseError as exc:
        log.error("can't control", error=type(exc).__name__, message=exc.message)
        return EXIT_USAGE if isinstance(exc, InvalidArgument) else exc.exit_code
    return EXIT_DONE


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not (text.isdecimal() and int(text) <= _LAST_PORT):
        raise InvalidArgument(f"{variable}={text!r} is no port; give 0 to {_LAST_PORT}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
