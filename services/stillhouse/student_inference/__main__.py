"""`python -m stillhouse.student_inference serve ...`: wires configuration, model, engine, servicer and server.

Started by a user, `stillhouse serve-student`, the local runner or a Deployment. The one place that reads flags and
environment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import grpc
import structlog

from stillhouse.errors import EXIT_DONE, EXIT_TERMINATED, EXIT_USAGE, InvalidArgument, StillhouseError
from stillhouse.rpc.server import RunningServer, ServerConfig, serve_until_terminated, start_server
from stillhouse.student_inference.config import StudentConfig
from stillhouse.student_inference.engine import Engine
from stillhouse.student_inference.model_file import ModelFile, locate_model
from stillhouse.student_inference.servicer import StudentServicer
from stillhouse.v1 import student_inference_pb2, student_inference_pb2_grpc

_SERVICE = student_inference_pb2.DESCRIPTOR.services_by_name["StudentInferenceService"].full_name
_SPARE_WORKERS = 8
"""gRPC threads beyond slots and queue, so that health, GetModelInfo and refusals are answered while all are busy."""
_GIVE_UP_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code is that of the table in `stillhouse.errors`."""
    if not arguments or arguments[0] != "serve":
        print("usage: python -m stillhouse.student_inference serve --model FILE|sha256:HEX [...]", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    log = structlog.get_logger("student_inference")
    try:
        config = StudentConfig.from_arguments(arguments[1:])
        _serve(config, log)
    except InvalidArgument as exc:
        log.error("refused", error=exc.message, field=exc.field)
        return EXIT_USAGE
    except StillhouseError as exc:
        log.error("failed", error=exc.message)
        return exc.exit_code
    return EXIT_DONE


def _serve(config: StudentConfig, log: structlog.stdlib.BoundLogger) -> None:
    model = locate_model(config.model, store_uri=config.store, cache=config.cache)
    servicer = StudentServicer(model)

    def add_services(server: grpc.Server) -> Sequence[str]:
        student_inference_pb2_grpc.add_StudentInferenceServiceServicer_to_server(servicer, server)
        return [_SERVICE]

    server = start_server(_server_config(config), add_services, serving=False)
    try:
        engine = _load(model, config, log)
        servicer.attach(engine)
        server.set_serving(True)
        _watch_stdin()
        _announce(server, engine, model)
        serve_until_terminated(server)
    finally:
        server.stop(0)


def _server_config(config: StudentConfig) -> ServerConfig:
    base = ServerConfig.from_env()
    return replace(
        base,
        host=config.host or base.host,
        port=base.port if config.port is None else config.port,
        workers=config.engine.parallel + config.engine.queue + _SPARE_WORKERS,
    )


def _load(model: ModelFile, config: StudentConfig, log: structlog.stdlib.BoundLogger) -> Engine:
    started = time.monotonic()
    engine = Engine(model, config.engine)
    engine.answer_probe()
    facts = engine.facts
    log.info(
        "model loaded",
        model=facts.name,
        sha256=model.sha256,
        seconds=round(time.monotonic() - started, 1),
        slots=facts.slots,
        context_tokens=facts.context_tokens,
        gpu_layers=facts.gpu_layers,
    )
    if config.engine.http_port is not None:
        log.info("OpenAI-compatible listener", host=config.engine.http_host, port=engine.http_port)
    return engine


def _announce(server: RunningServer, engine: Engine, model: ModelFile) -> None:
    facts = engine.facts
    slots = f"{facts.slots} slots of {facts.context_tokens} tokens"
    print(f"serving {facts.name} (sha256:{model.sha256[:12]}, {slots}) on {server.address}", flush=True)  # noqa: T201


def _watch_stdin() -> None:
    """Whoever started this server with STILLHOUSE_WATCH_STDIN=1 holds its standard input: its end is our end."""
    if os.environ.get("STILLHOUSE_WATCH_STDIN") == "1":
        threading.Thread(target=_terminate_at_end_of_stdin, name="watch-stdin", daemon=True).start()


def _terminate_at_end_of_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GIVE_UP_SECONDS)
    os._exit(EXIT_TERMINATED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
