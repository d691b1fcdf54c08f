"""A gRPC server as every service has it: health, reflection, rich errors, TLS, token, graceful drain.

Called by serve mains and by tests on localhost. It must not know any service.
"""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from stillhouse.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    StillhouseError,
)
from stillhouse.rpc.config import ServerConfig, add_server_arguments
from stillhouse.rpc.interceptors import CallInterceptor
from stillhouse.rpc.logs import configure_logging
from stillhouse.rpc.process import stop_on_signals, watch_runner
from stillhouse.rpc.traced_calls import TracingInterceptor
from stillhouse.rpc.tracing import configure_tracing

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from stillhouse.rpc.metrics import MetricsListener

AddServices = Callable[[grpc.Server], Sequence[str]]


@dataclass(frozen=True)
class Metrics:
    """What Prometheus reads of a server; whoever has more to say registers it."""

    registry: CollectorRegistry
    listener: MetricsListener


class RunningServer:
    """A server that listens. Safe to share between threads."""

    def __init__(
        self,
        server: grpc.Server,
        servicer: health.HealthServicer,
        config: ServerConfig,
        port: int,
        names: Sequence[str],
        metrics: Metrics | None,
    ) -> None:
        """Made by `start_server`."""
        self._server = server
        self._health = servicer
        self._names = ("", *names)
        self._lock = threading.Lock()
        self._is_stopping = False
        self.drain_seconds = config.drain_seconds
        self.port = port
        self.address = _join(config.host, port)
        self.metrics = metrics

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - it is a setter
        """Says by the health service whether this server can do its work. A server that stops stays NOT_SERVING."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        with self._lock:
            if not self._is_stopping:
                for name in self._names:
                    self._health.set(name, status)

    def wait(self) -> None:
        """Returns when the server has stopped."""
        self._server.wait_for_termination()

    def stop(self, drain_seconds: float | None = None) -> None:
        """NOT_SERVING first, then no new calls; those in flight have `drain_seconds` before they are cancelled.

        None is the configuration's. Returns when all have ended; a second call waits for the first.
        """
        with self._lock:
            self._is_stopping = True
        self._health.enter_graceful_shutdown()
        self._server.stop(self.drain_seconds if drain_seconds is None else drain_seconds).wait()
        if self.metrics is not None:
            self.metrics.listener.close()


def start_server(config: ServerConfig, add_services: AddServices, *, serving: bool = True) -> RunningServer:
    """Starts listening and returns. `add_services` adds its servicers and returns their full names.

    With `serving` False the health service says NOT_SERVING until `set_serving(True)`. Raises InvalidArgument for plain
    text beyond loopback, NotFound for a missing certificate, FailedPrecondition for a port that is in use.
    """
    config.check_exposure()
    credentials = _credentials(config)
    metrics, interceptors = _metrics(config)
    server = grpc.server(
        ThreadPoolExecutor(max_workers=config.workers, thread_name_prefix="rpc"),
        interceptors=[TracingInterceptor(), *interceptors, CallInterceptor(config.token)],
        options=[
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", config.max_message_bytes),
            # Without it a second server on the same port would quietly take half of the calls.
            ("grpc.so_reuseport", 0),
        ],
    )
    names = list(add_services(server))
    servicer = health.HealthServicer(experimental_non_blocking=True)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = _bind(server, config, credentials)
    except StillhouseError:
        if metrics is not None:
            metrics.listener.close()
        raise
    running = RunningServer(server, servicer, config, port, names, metrics)
    running.set_serving(serving)
    server.start()
    return running


def serve_until_terminated(server: RunningServer, *, announce: Callable[[], None] | None = None) -> int:
    """Waits for SIGTERM or SIGINT, drains, and returns the exit code: 0, or 130 after SIGINT. Main thread only.

    `announce` is called once signals are heard: whoever reads that the server is ready may stop it.
    """
    log = structlog.get_logger("stillhouse.rpc")
    with stop_on_signals() as stop:
        watch_runner(stop, os.environ)
        if announce is not None:
            announce()
        stop.event.wait()
        log.info("draining", address=server.address, drain_seconds=server.drain_seconds)
        server.stop()
    log.info("stopped", address=server.address)
    return EXIT_INTERRUPTED if stop.interrupted else EXIT_DONE


def serve_main(service: str, add_services: AddServices, argv: Sequence[str]) -> int:
    """`serve` of a service that needs nothing but its server: flags, logs, server, drain. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m stillhouse.{service} serve")
    add_server_arguments(parser)
    options = parser.parse_args(list(argv))
    configure_logging(service)
    configure_tracing(service, os.environ)
    log = structlog.get_logger("stillhouse.rpc")
    try:
        config = ServerConfig.from_env(os.environ).with_arguments(options)
        server = start_server(config, add_services)
    except StillhouseError as exc:
        log.error("can't serve", error=type(exc).__name__, message=exc.message)
        return EXIT_USAGE if isinstance(exc, InvalidArgument) else exc.exit_code
    facts = {"address": server.address, "tls": config.is_secure, "authenticated": config.token is not None}
    return serve_until_terminated(server, announce=lambda: log.info("serving", **facts))


def _metrics(config: ServerConfig) -> tuple[Metrics | None, list[grpc.ServerInterceptor]]:
    if config.metrics_port is None:
        return None, []
    from stillhouse.rpc.metrics import MetricsInterceptor, MetricsListener, process_registry

    registry = process_registry()
    return Metrics(registry, MetricsListener(config.metrics_port, registry)), [MetricsInterceptor(registry)]


def _bind(server: grpc.Server, config: ServerConfig, credentials: grpc.ServerCredentials | None) -> int:
    address = _join(config.host, config.port)
    try:
        if credentials is not None:
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as exc:
        raise _no_port(address, config) from exc
    if port == 0:
        raise _no_port(address, config)
    return port


def _no_port(address: str, config: ServerConfig) -> FailedPrecondition:
    tls = f", or {config.tls_certificate} and {config.tls_key} are no PEM of a pair" if config.is_secure else ""
    return FailedPrecondition(
        f"can't listen on {address}: the port is in use or the address is not this machine's{tls}; choose another "
        "--port",
        field="port",
    )


def _credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    if config.tls_certificate is None or config.tls_key is None:
        return None
    pair = (_pem(config.tls_key, "STILLHOUSE_TLS_KEY"), _pem(config.tls_certificate, "STILLHOUSE_TLS_CERTIFICATE"))
    client_ca = _pem(config.tls_client_ca, "STILLHOUSE_TLS_CLIENT_CA") if config.tls_client_ca is not None else None
    return grpc.ssl_server_credentials([pair], root_certificates=client_ca, require_client_auth=client_ca is not None)


def _pem(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise NotFound(f"{variable}: {path} can't be read: {exc.strerror}", field=variable) from exc


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
