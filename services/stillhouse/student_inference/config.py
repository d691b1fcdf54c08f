"""What the student server is told by flags and environment. Read once, by `__main__`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillhouse.errors import InvalidArgument

DEFAULT_CONTEXT_TOKENS = 4096


@dataclass(frozen=True)
class EngineConfig:
    """How llama.cpp runs the model."""

    parallel: int = 4
    """Slots: requests that are answered at once. STILLHOUSE_PARALLEL."""
    queue: int = 16
    """Requests that may wait for a slot; more are refused. STILLHOUSE_QUEUE."""
    context_tokens: int = 0
    """Tokens a slot, prompt and answer, at most what the model was trained for; 0: 4,096. STILLHOUSE_CONTEXT."""
    threads: int = 0
    """0: as many as physical cores that this process may use. STILLHOUSE_THREADS."""
    gpu_layers: int = -1
    """Layers on the GPU; -1: all where there is a GPU. STILLHOUSE_GPU_LAYERS."""
    http_host: str = "127.0.0.1"
    """Where the OpenAI-compatible listener listens when it is offered. STILLHOUSE_HTTP_HOST."""
    http_port: int | None = None
    """Port of the OpenAI-compatible listener (0: any); None: not offered. STILLHOUSE_HTTP_PORT."""
    http_key: str = ""
    """Its bearer key, needed where it is offered. STILLHOUSE_HTTP_KEY only: a flag would show in process lists."""


@dataclass(frozen=True)
class StudentConfig:
    """All of it."""

    model: str
    """A GGUF file or sha256:HEX. STILLHOUSE_MODEL."""
    store: str | None
    """The store that holds a model named by digest. STILLHOUSE_STORE."""
    cache: Path
    """Where fetched models are kept. STILLHOUSE_CACHE; default ~/.cache/stillhouse."""
    host: str | None
    """Where gRPC listens; None: as the server's own configuration says. --host."""
    port: int | None
    """gRPC port; 0: any; None: as the server's own configuration says. --port."""
    engine: EngineConfig

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> StudentConfig:
        """Flags beat environment. Exits with 2 on unknown flags; raises InvalidArgument that names what is wrong."""
        flags = vars(_parser().parse_args(arguments))

        def text(name: str) -> str | None:
            value = flags.get(name)
            return environment.get(f"STILLHOUSE_{name.upper()}") if value is None else str(value)

        def number(name: str, default: int, low: int, high: int) -> int:
            given = text(name)
            return default if given in (None, "") else _number(name, str(given), low, high)

        model = text("model")
        if not model:
            raise InvalidArgument("no model is named: give --model FILE or set STILLHOUSE_MODEL", field="model")
        http_port = number("http_port", -1, 0, 65535)
        http_key = environment.get("STILLHOUSE_HTTP_KEY", "")
        if http_port >= 0 and not http_key:
            raise InvalidArgument("--http-port needs a key in STILLHOUSE_HTTP_KEY", field="http_key")
        port = flags["port"]
        return cls(
            model=model,
            store=text("store"),
            cache=Path(text("cache") or Path.home() / ".cache" / "stillhouse"),
            host=flags["host"],
            port=None if port is None else _number("port", port, 0, 65535),
            engine=EngineConfig(
                parallel=number("parallel", 4, 1, 256),
                queue=number("queue", 16, 0, 4096),
                context_tokens=number("context", 0, 64, 1 << 20),
                threads=number("threads", 0, 1, 1024),
                gpu_layers=number("gpu_layers", -1, -1, 1000),
                http_host=text("http_host") or "127.0.0.1",
                http_port=http_port if http_port >= 0 else None,
                http_key=http_key,
            ),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stillhouse.student_inference serve",
        description="Serves a GGUF student over gRPC. Every flag but --host and --port has an environment variable.",
    )
    parser.add_argument("--model", metavar="FILE|sha256:HEX", help="the GGUF file, or its digest in the store")
    parser.add_argument("--store", metavar="URI", help="the store that holds a model named by digest")
    parser.add_argument("--cache", metavar="DIR", help="where fetched models are kept")
    parser.add_argument("--host", help="where gRPC listens (127.0.0.1)")
    parser.add_argument("--port", help="gRPC port (50051; 0: any)")
    parser.add_argument("--parallel", metavar="N", help="slots (4)")
    parser.add_argument("--queue", metavar="N", help="requests that may wait for a slot (16)")
    parser.add_argument("--context", metavar="TOKENS", help="tokens a slot (4096)")
    parser.add_argument("--threads", metavar="N", help="CPU threads (physical cores)")
    parser.add_argument("--gpu-layers", metavar="N", help="layers on the GPU (all, where there is one)")
    parser.add_argument("--http-host", help="where the OpenAI-compatible listener listens (127.0.0.1)")
    parser.add_argument(
        "--http-port", metavar="P", help="offer llama.cpp's OpenAI-compatible listener; its key is STILLHOUSE_HTTP_KEY"
    )
    return parser


def _number(name: str, text: str, low: int, high: int) -> int:
    flag = name.replace("_", "-")
    try:
        value = int(text)
    except ValueError:
        raise InvalidArgument(f"--{flag} {text}: a whole number is needed", field=name) from None
    if not low <= value <= high:
        raise InvalidArgument(f"--{flag} {value} is not in [{low}, {high}]", field=name)
    return value
