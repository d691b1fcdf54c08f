"""Where a server listens and whom it lets in, from the environment and the command line. Called by serve mains.

It must not know which service it is for.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stillhouse.errors import InvalidArgument

METRICS_PORT_VARIABLE = "STILLHOUSE_METRICS_PORT"
DEFAULT_MESSAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class ServerConfig:
    """One gRPC server. The variable that sets each field is `STILLHOUSE_` and its name in capitals."""

    host: str = "127.0.0.1"
    """Address or name to listen on. Beyond loopback it takes TLS, or `allow_plaintext`."""
    port: int = 50051
    """0 for any free one."""
    tls_certificate: Path | None = None
    """PEM chain of the server; with `tls_key` it switches TLS on."""
    tls_key: Path | None = None
    """PEM private key of the certificate."""
    tls_client_ca: Path | None = None
    """PEM of the authority that clients' certificates must come from; absent: clients need none."""
    token: str | None = field(default=None, repr=False)
    """What clients must send as `authorization: Bearer TOKEN`; STILLHOUSE_TOKEN_FILE names a file that holds it."""
    allow_plaintext: bool = False
    """Serve plain text beyond loopback: where a mesh or a policy guards the network."""
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    """Largest message in either direction."""
    workers: int = 16
    """Calls worked on at the same time."""
    drain_seconds: float = 30.0
    """How long calls in flight may take after a SIGTERM."""
    metrics_port: int | None = None
    """Where Prometheus reads metrics, on all interfaces, 0 for any free port; without it there are none."""

    def __post_init__(self) -> None:
        """Raises InvalidArgument for what can't be served."""
        if not 0 <= self.port <= 65535:
            raise InvalidArgument(f"port {self.port} is not between 0 and 65535", field="port")
        if not 0 <= (self.metrics_port or 0) <= 65535:
            raise InvalidArgument(f"metrics port {self.metrics_port} is not between 0 and 65535", field="metrics_port")
        if self.workers < 1 or self.max_message_bytes < 1 or not 0 <= self.drain_seconds < math.inf:
            raise InvalidArgument("workers and max_message_bytes are at least 1, drain_seconds at least 0 and finite")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidArgument(
                "TLS needs both certificate and key: STILLHOUSE_TLS_CERTIFICATE and STILLHOUSE_TLS_KEY", field="tls_key"
            )
        if self.tls_client_ca is not None and not self.is_secure:
            raise InvalidArgument("a client authority needs TLS: set STILLHOUSE_TLS_CERTIFICATE and STILLHOUSE_TLS_KEY")
        if self.token == "":
            raise InvalidArgument("the bearer token is empty; set STILLHOUSE_TOKEN, or unset it", field="token")

    @property
    def is_secure(self) -> bool:
        """True if the server speaks TLS."""
        return self.tls_certificate is not None

    def check_exposure(self) -> None:
        """Raises InvalidArgument if this would serve plain text beyond loopback without having been asked to."""
        if not self.is_secure and not self.allow_plaintext and not is_loopback(self.host):
            raise InvalidArgument(
                f"refusing to serve plain text on {self.host}: set STILLHOUSE_TLS_CERTIFICATE and STILLHOUSE_TLS_KEY, "
                "listen on 127.0.0.1, or set STILLHOUSE_ALLOW_PLAINTEXT=1 where the network itself is guarded",
                field="host",
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ServerConfig:
        """Reads the environment once. Raises InvalidArgument naming the variable that is wrong."""
        default = cls()

        def path(name: str) -> Path | None:
            return Path(environ[name]) if environ.get(name) else None

        return cls(
            host=environ.get("STILLHOUSE_HOST") or default.host,
            port=int(_number(environ, "STILLHOUSE_PORT", default.port)),
            tls_certificate=path("STILLHOUSE_TLS_CERTIFICATE"),
            tls_key=path("STILLHOUSE_TLS_KEY"),
            tls_client_ca=path("STILLHOUSE_TLS_CLIENT_CA"),
            token=_token(environ),
            allow_plaintext=_switch(environ, "STILLHOUSE_ALLOW_PLAINTEXT"),
            max_message_bytes=int(_number(environ, "STILLHOUSE_MAX_MESSAGE_BYTES", default.max_message_bytes)),
            workers=int(_number(environ, "STILLHOUSE_WORKERS", default.workers)),
            drain_seconds=_number(environ, "STILLHOUSE_DRAIN_SECONDS", default.drain_seconds),
            metrics_port=metrics_port(environ),
        )

    def with_arguments(self, options: argparse.Namespace) -> ServerConfig:
        """This configuration with what `add_server_arguments` found on the command line."""
        given = {
            name: getattr(options, name)
            for name in ("host", "port", "tls_certificate", "tls_key", "tls_client_ca", "workers", "drain_seconds")
            if getattr(options, name, None) is not None
        }
        if options.allow_plaintext:
            given["allow_plaintext"] = True
        return dataclasses.replace(self, **given)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that every server has; the token is the environment's only, where no process list shows it."""
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any (default 50051)")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM")
    parser.add_argument("--tls-key", type=Path, metavar="PEM")
    parser.add_argument("--tls-client-ca", type=Path, metavar="PEM")
    parser.add_argument("--allow-plaintext", action="store_true", help="serve without TLS beyond loopback")
    parser.add_argument("--workers", type=int, help="calls worked on at the same time")
    parser.add_argument("--drain-seconds", type=float, help="time for calls in flight after SIGTERM")


def metrics_port(environ: Mapping[str, str]) -> int | None:
    """STILLHOUSE_METRICS_PORT, None where it is not set. Raises InvalidArgument for what is no number."""
    return int(_number(environ, METRICS_PORT_VARIABLE, 0)) if environ.get(METRICS_PORT_VARIABLE) else None


def is_loopback(host: str) -> bool:
    """True if only this machine reaches `host`: an address in the loopback range, or the name localhost."""
    name = host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _token(env: Mapping[str, str]) -> str | None:
    path = env.get("STILLHOUSE_TOKEN_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidArgument(f"STILLHOUSE_TOKEN_FILE={path} can't be read: {exc}", field="token") from exc
    return env.get("STILLHOUSE_TOKEN")


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        return float(text) if isinstance(default, float) else int(text)
    except ValueError as exc:
        raise InvalidArgument(f"{name}={text} is no number", field=name) from exc


def _switch(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").lower()
    if text in ("1", "true", "yes"):
        return True
    if text in ("", "0", "false", "no"):
        return False
    raise InvalidArgument(f"{name}={text} is neither 1 nor 0", field=name)
