"""What the student server is told by flags and environment. Read once, by `__main__`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stillhouse.cache import cache_directory
from stillhouse.errors import InvalidArgument
from stillhouse.rpc.config import ServerConfig, add_server_arguments, is_loopback

DEFAULT_CONTEXT_TOKENS = 4096
_SPARE_WORKERS = 8
"""gRPC threads beyond slots and queue, so that health, GetModelInfo and refusals are answered while all are busy."""


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
    server: ServerConfig
    """Where gRPC listens and whom it lets in."""
    engine: EngineConfig

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> StudentConfig:
        """Flags beat environment. Exits with 2 on unknown flags.

        Raises InvalidArgument that names what is wrong, FailedPrecondition where there is no place for the cache.
        """
        options = _parser().parse_args(arguments)
        read = _Reader(vars(options), environment)
        model = read.text("model")
        if not model:
            raise InvalidArgument("no model is named: give --model FILE or set STILLHOUSE_MODEL", field="model")
        engine = EngineConfig(
            parallel=read.number("parallel", EngineConfig.parallel, 1, 256),
            queue=read.number("queue", EngineConfig.queue, 0, 4096),
            context_tokens=read.number("context", EngineConfig.context_tokens, 64, 1 << 20),
            threads=read.number("threads", EngineConfig.threads, 1, 1024),
            gpu_layers=read.number("gpu_layers", EngineConfig.gpu_layers, -1, 1000),
            http_host=read.text("http_host") or EngineConfig.http_host,
            http_port=None if read.text("http_port") is None else read.number("http_port", 0, 0, 65535),
            http_key=environment.get("STILLHOUSE_HTTP_KEY", ""),
        )
        server = ServerConfig.from_env(environment).with_arguments(options)
        _check_listener(engine, server)
        workers = max(server.workers, engine.parallel + engine.queue + _SPARE_WORKERS)
        return cls(
            model=model,
            store=read.text("store"),
            cache=Path(options.cache) if options.cache else cache_directory(environment),
            server=replace(server, workers=workers),
            engine=engine,
        )


@dataclass(frozen=True)
class _Reader:
    """Flags, and for those that were not given the environment."""

    flags: Mapping[str, object]
    environment: Mapping[str, str]

    @staticmethod
    def variable(name: str) -> str:
        return f"STILLHOUSE_{name.upper()}"

    def text(self, name: str) -> str | None:
        value = self.flags.get(name)
        return (self.environment.get(self.variable(name)) or None) if value is None else str(value)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        given = f"--{name.replace('_', '-')} ({self.variable(name)}) is {text}"
        try:
            value = int(text)
        except ValueError:
            raise InvalidArgument(f"{given}: a whole number is needed", field=name) from None
        if not low <= value <= high:
            raise InvalidArgument(f"{given}: it is taken from {low} to {high}", field=name)
        return value


def _check_listener(engine: EngineConfig, server: ServerConfig) -> None:
    if engine.http_port is None:
        return
    if not engine.http_key:
        raise InvalidArgument("--http-port needs a key in STILLHOUSE_HTTP_KEY", field="http_key")
    if not is_loopback(engine.http_host) and not server.allow_plaintext:
        raise InvalidArgument(
            f"refusing to serve plain HTTP on {engine.http_host}: listen on 127.0.0.1, or give --allow-plaintext where "
            "the network itself is guarded",
            field="http_host",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stillhouse.student_inference serve",
        description="Serves a GGUF student over gRPC. Each flag has its variable: --gpu-layers, STILLHOUSE_GPU_LAYERS.",
    )
    parser.add_argument("--model", metavar="FILE|sha256:HEX", help="the GGUF file, or its digest in the store")
    parser.add_argument("--store", metavar="URI", help="the store that holds a model named by digest")
    parser.add_argument("--cache", metavar="DIR", help="where fetched models are kept")
    parser.add_argument("--parallel", metavar="N", help="slots (4)")
    parser.add_argument("--queue", metavar="N", help="requests that may wait for a slot (16)")
    parser.add_argument("--context", metavar="TOKENS", help="tokens a slot (4096)")
    parser.add_argument("--threads", metavar="N", help="CPU threads (physical cores)")
    parser.add_argument("--gpu-layers", metavar="N", help="layers on the GPU (all, where there is one)")
    parser.add_argument("--http-host", help="where the OpenAI-compatible listener listens (127.0.0.1)")
    parser.add_argument(
        "--http-port",
        metavar="P",
        help="offer llama.cpp's OpenAI-compatible listener; its key is STILLHOUSE_HTTP_KEY. Parallel prompts share "
        "nothing then: each slot reads its own",
    )
    add_server_arguments(parser)
    return parser
