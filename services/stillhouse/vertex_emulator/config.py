"""What the server is told by flags and environment, checked. Called by `__main__`; it starts nothing."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stillhouse.errors import InvalidArgument
from stillhouse.rpc.config import is_loopback, metrics_port
from stillhouse.vertex_emulator.desk import Conditions

TOKEN_VARIABLE = "STILLHOUSE_EMULATOR_TOKEN"  # noqa: S105 - the name of a variable
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


@dataclass(frozen=True)
class EmulatorConfig:
    """One server."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it takes TLS, or `insecure`."""
    port: int = 0
    """0 for any free one."""
    openai_port: int | None = None
    """Port of the HTTP door; None keeps it shut."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token: str | None = field(default=None, repr=False)
    """What clients must send as `authorization: Bearer TOKEN`."""
    insecure: bool = False
    """Serve plain text beyond loopback."""
    role: str | None = None
    """Whose author answers; None where one role is installed."""
    seed: int = 0
    recorded_faults: bool = False
    conditions: Conditions = field(default_factory=Conditions)
    bill_log: Path | None = None
    stats: Path | None = None
    metrics_port: int | None = None
    """Where Prometheus reads the bill, on all interfaces: STILLHOUSE_METRICS_PORT; without it nowhere."""

    def __post_init__(self) -> None:
        """Raises InvalidArgument for what can't be served, and for plain text beyond loopback that nobody asked for."""
        for port in (self.port, self.openai_port or 0, self.metrics_port or 0):
            if not 0 <= port <= 65_535:
                raise InvalidArgument(f"port {port} is not between 0 and 65535", field="port")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidArgument("TLS needs both --tls-cert and --tls-key", field="tls_key")
        if self.token == "":
            raise InvalidArgument(f"the token is empty; give --token or {TOKEN_VARIABLE}, or neither", field="token")
        if not self.is_secure and not self.insecure and not is_loopback(self.host):
            raise InvalidArgument(
                f"refusing to serve plain text on {self.host}: give --tls-cert and --tls-key, listen on 127.0.0.1, or "
                "say --insecure where the network itself is guarded",
                field="host",
            )

    @property
    def is_secure(self) -> bool:
        """True if the server speaks TLS."""
        return self.tls_certificate is not None

    @property
    def scheme(self) -> str:
        """Of its addresses."""
        return "https" if self.is_secure else "http"

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], environ: Mapping[str, str]) -> EmulatorConfig:
        """Reads flags and environment; a flag goes first. Raises InvalidArgument; argparse exits with 2."""
        options = _parser().parse_args(list(arguments))
        return cls(
            host=options.host,
            port=options.port,
            openai_port=options.openai_port,
            tls_certificate=options.tls_cert,
            tls_key=options.tls_key,
            token=options.token if options.token is not None else environ.get(TOKEN_VARIABLE),
            insecure=options.insecure,
            role=options.role,
            seed=options.seed,
            recorded_faults=options.faults == "recorded",
            conditions=Conditions(
                latency_seconds=duration_seconds(options.latency),
                requests_per_minute=_rate(options.requests_per_minute, "requests-per-minute"),
                tokens_per_minute=_rate(options.tokens_per_minute, "tokens-per-minute"),
                unavailable=_share(options.unavailable, "unavailable"),
                stall=_share(options.stall, "stall"),
            ),
            bill_log=options.bill_log,
            stats=options.stats,
            metrics_port=metrics_port(environ),
        )


def duration_seconds(text: str) -> float:
    """`10s`, `250ms`, `2m` or a number of seconds. Raises InvalidArgument."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|)", text.strip())
    if match is None:
        raise InvalidArgument(f"--latency {text} is no duration; give 10s, 250ms or 0", field="latency")
    return float(match[1]) * _UNITS[match[2]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stillhouse vertex-emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--openai-port", type=int, help="serve OpenAI's chat completions and /stats too, 0 for any")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM")
    parser.add_argument("--tls-key", type=Path, metavar="PEM")
    parser.add_argument("--token", help=f"bearer token that clients must send; better in {TOKEN_VARIABLE}")
    parser.add_argument("--insecure", action="store_true", help="serve plain text beyond loopback")
    parser.add_argument("--role", help="whose scripted author answers; needed where several roles are installed")
    parser.add_argument("--seed", type=int, default=0, help="of all answers and faults (default %(default)s)")
    parser.add_argument("--faults", choices=("none", "recorded"), default="none", help="default %(default)s")
    parser.add_argument("--latency", default="0", help="median of an answer: 10s, 250ms (default %(default)s)")
    parser.add_argument("--requests-per-minute", type=float, metavar="N")
    parser.add_argument("--tokens-per-minute", type=float, metavar="N")
    parser.add_argument("--unavailable", type=float, default=0.0, metavar="SHARE", help="of calls that fail")
    parser.add_argument("--stall", type=float, default=0.0, metavar="SHARE", help="of calls never answered")
    parser.add_argument("--bill-log", type=Path, metavar="FILE", help="gets a line for every billed call")
    parser.add_argument("--stats", type=Path, metavar="FILE", help="holds the counts as JSON")
    return parser


def _rate(value: float | None, name: str) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise InvalidArgument(f"--{name} must be above 0; leave it out for no limit", field=name.replace("-", "_"))
    return value


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise InvalidArgument(f"--{name} is a share of calls, between 0 and 1", field=name)
    return value
