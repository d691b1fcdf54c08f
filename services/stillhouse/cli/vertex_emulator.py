"""`stillhouse vertex-emulator`: the Vertex test server, in this process' place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

_Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")]
_Share = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of calls that fail with UNAVAILABLE.")]


def vertex_emulator(
    port: _Port = 0,
    latency: Annotated[str, typer.Option(help="Median of an answer: 10s, 250ms, 0.")] = "0",
    requests_per_minute: Annotated[float | None, typer.Option(help="Quota; beyond it calls get 429.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="Quota of prompt and answer tokens.")] = None,
    faults: Annotated[str, typer.Option(help="none, or recorded: the rates of the recorded pipeline.")] = "none",
    seed: Annotated[int, typer.Option(help="Of all answers and faults.")] = 0,
    role: Annotated[str | None, typer.Option(help="Whose scripted author answers.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback it wants TLS.")] = "127.0.0.1",
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain text beyond loopback.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="STILLHOUSE_EMULATOR_TOKEN", help="Bearer token that clients must send.")
    ] = None,
    openai_port: Annotated[int | None, typer.Option(help="Serve OpenAI's protocol and /stats on this port.")] = None,
    unavailable: _Share = 0.0,
    stall: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of calls that are never answered.")] = 0.0,
    bill_log: Annotated[Path | None, typer.Option(help="Gets a line for every billed call.")] = None,
    stats: Annotated[Path | None, typer.Option(help="Holds the counts as JSON.")] = None,
) -> None:
    """Answers as Vertex AI would, by script, for nothing.

    Prints its address, then serves until interrupted.
    """
    given: dict[str, object] = {name.replace("_", "-"): value for name, value in locals().items()}
    arguments = ["--insecure"] if given.pop("insecure") else []
    # The token goes by the environment: a process list shows the command line to everyone.
    environment = dict(os.environ)
    if (secret := given.pop("token")) is not None:
        environment["STILLHOUSE_EMULATOR_TOKEN"] = str(secret)
    arguments += [f"--{name}={value}" for name, value in given.items() if value is not None]
    sys.stdout.flush()
    sys.stderr.flush()
    # The server takes this process' place: signals, exit code and terminal are its own.
    command = [sys.executable, "-m", "stillhouse.vertex_emulator", *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606
