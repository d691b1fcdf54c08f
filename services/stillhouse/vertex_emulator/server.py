"""The server: both doors, health and reflection on one event loop. Called by `__main__` and by tests."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound
from stillhouse.roles.role import Role, installed_roles, load_role
from stillhouse.rpc.config import DEFAULT_MESSAGE_BYTES
from stillhouse.teachers.prices import Price, price_of
from stillhouse.v1.teacher_pb2 import TeacherModel
from stillhouse.vertex_emulator.answers import ScriptedModel
from stillhouse.vertex_emulator.bill import Bill
from stillhouse.vertex_emulator.config import EmulatorConfig
from stillhouse.vertex_emulator.desk import Desk
from stillhouse.vertex_emulator.openai_door import application
from stillhouse.vertex_emulator.vertex import SERVICE, PredictionService

DRAIN_SECONDS = 1.0
"""How long calls in flight may take once it stops: nobody waits for a test server."""


@dataclass(frozen=True)
class RunningEmulator:
    """A server that listens, and what it has counted."""

    url: str
    """`http://127.0.0.1:4711`, or https."""
    openai_url: str | None
    """`http://127.0.0.1:4712/v1`."""
    bill: Bill


@dataclass(frozen=True)
class _Tls:
    """One certificate, as each door wants it."""

    pair: tuple[bytes, bytes]
    """PEM of key and chain."""
    context: ssl.SSLContext


@asynccontextmanager
async def emulator(config: EmulatorConfig) -> AsyncIterator[RunningEmulator]:
    """Serves while the context lasts.

    Raises NotFound for a missing certificate, FailedPrecondition for a port in use or a file that can't be written,
    InvalidArgument for an unknown role.
    """
    model = ScriptedModel(_role(config.role), seed=config.seed, recorded_faults=config.recorded_faults)
    tls = _tls(config)
    async with AsyncExitStack() as stack:
        desk = Desk(model, config.conditions, Bill(_price, log=config.bill_log, stats=config.stats), seed=config.seed)
        stack.callback(desk.close)
        if config.metrics_port is not None:
            from stillhouse.vertex_emulator.metrics import serve_metrics

            stack.callback(serve_metrics(config.metrics_port, desk.bill).close)
        port = await _open_grpc(config, desk, tls, stack)
        openai_url = None
        if config.openai_port is not None:
            openai_port = await _open_http(config, config.openai_port, desk, tls, stack)
            openai_url = f"{config.scheme}://{_join(config.host, openai_port)}/v1"
        yield RunningEmulator(f"{config.scheme}://{_join(config.host, port)}", openai_url, desk.bill)


def _role(name: str | None) -> Role:
    """The role of that name, or the only one. Raises InvalidArgument that names those there are."""
    if name is not None:
        return load_role(name)
    roles = installed_roles()
    if len(roles) != 1:
        raise InvalidArgument(f"say whose author answers: --role {'|'.join(sorted(roles)) or 'NAME'}", field="role")
    return next(iter(roles.values()))


async def _open_grpc(config: EmulatorConfig, desk: Desk, tls: _Tls | None, stack: AsyncExitStack) -> int:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", DEFAULT_MESSAGE_BYTES),
            ("grpc.max_send_message_length", DEFAULT_MESSAGE_BYTES),
            # Without it a second server on the same port would quietly take half of the calls.
            ("grpc.so_reuseport", 0),
        ]
    )
    PredictionService(desk, config.token).add_to(server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = _join(config.host, config.port)
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, grpc.ssl_server_credentials([tls.pair]))
    except RuntimeError as exc:
        raise _no_port(address, "--port") from exc
    if port == 0:
        raise _no_port(address, "--port")
    await server.start()
    stack.push_async_callback(server.stop, DRAIN_SECONDS)
    return port


async def _open_http(config: EmulatorConfig, port: int, desk: Desk, tls: _Tls | None, stack: AsyncExitStack) -> int:
    # A caller that hangs up is not billed: its handler has to hear of it.
    runner = web.AppRunner(
        application(desk, config.token), handler_cancellation=True, access_log=None, shutdown_timeout=DRAIN_SECONDS
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, config.host, port, ssl_context=tls.context if tls is not None else None).start()
    except OSError as exc:
        raise _no_port(_join(config.host, port), "--openai-port") from exc
    return int(runner.addresses[0][1])


def _price(model: str) -> Price | None:
    return price_of(TeacherModel(provider="emulator", model=model))


def _tls(config: EmulatorConfig) -> _Tls | None:
    if config.tls_certificate is None or config.tls_key is None:
        return None
    pair = _pem(config.tls_key, "--tls-key"), _pem(config.tls_certificate, "--tls-cert")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except ssl.SSLError as exc:
        raise InvalidArgument(f"--tls-cert and --tls-key are no PEM pair: {exc}", field="tls_certificate") from exc
    return _Tls(pair, context)


def _pem(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise NotFound(f"{flag} {path} can't be read: {exc.strerror}", field=flag.removeprefix("--")) from exc


def _no_port(address: str, flag: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"can't listen on {address}: the port is in use or the address is not this machine's; choose another {flag}",
        field=flag.removeprefix("--").replace("-", "_"),
    )


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
