"""`python -m stillhouse.student_inference serve ...`: wires configuration, model, engine, servicer and server.

Started by a user, `stillhouse serve-student`, the local runner or a Deployment. The one place that reads flags and
environment.
"""

from __future__ import annotations

from stillhouse.rpc.process import hold_signals

if __name__ == "__main__":
    hold_signals()

import os
import sys
import time
from collections.abc import Sequence

import grpc
import structlog

from stillhouse.errors import EXIT_USAGE, InvalidArgument, StillhouseError
from stillhouse.rpc.logs import configure_logging
from stillhouse.rpc.server import RunningServer, serve_until_terminated, start_server
from stillhouse.rpc.tracing import configure_tracing
from stillhouse.student_inference.config import StudentConfig
from stillhouse.student_inference.engine import Engine
from stillhouse.student_inference.model_file import ModelFile, locate_model
from stillhouse.student_inference.servicer import StudentServicer
from stillhouse.student_inference.starting import abandoned_on_signals, leaving_on_signals
from stillhouse.v1 import student_inference_pb2, student_inference_pb2_grpc

_SERVICE = student_inference_pb2.DESCRIPTOR.services_by_name["StudentInferenceService"].full_name


def main(arguments: Sequence[str]) -> int:
    """Serves until terminated; the exit code is that of the table in `stillhouse.errors`."""
    if not arguments or arguments[0] != "serve":
        sys.stderr.write("usage: python -m stillhouse.student_inference serve --model FILE|sha256:HEX [...]\n")
        return EXIT_USAGE
    configure_logging("student_inference")
    configure_tracing("student_inference", os.environ)
    try:
        return _serve(StudentConfig.from_arguments(arguments[1:]))
    except StillhouseError as exc:
        log = structlog.get_logger("stillhouse.student_inference")
        log.error("can't serve", error=type(exc).__name__, message=exc.message)
        return EXIT_USAGE if isinstance(exc, InvalidArgument) else exc.exit_code


def _serve(config: StudentConfig) -> int:
    with leaving_on_signals():
        model = locate_model(config.model, store_uri=config.store, cache=config.cache)
    servicer = StudentServicer(model)

    def add_services(server: grpc.Server) -> Sequence[str]:
        student_inference_pb2_grpc.add_StudentInferenceServiceServicer_to_server(servicer, server)
        return [_SERVICE]

    # The port is taken first: whoever asks while the model loads hears NOT_SERVING and UNAVAILABLE.
    server = start_server(config.server, add_services, serving=False)
    try:
        with abandoned_on_signals():
            engine = _load(model, config)
        if server.metrics is not None:
            from stillhouse.student_inference.metrics import measure

            measure(engine, model.sha256, server.metrics.registry)
        servicer.attach(engine)
        server.set_serving(True)
        return serve_until_terminated(server, announce=lambda: _announce(server, engine, model))
    finally:
        server.stop(0)


def _load(model: ModelFile, config: StudentConfig) -> Engine:
    log = structlog.get_logger("stillhouse.student_inference")
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
    """The one line on standard output; programs wait for it and read the address at its end."""
    facts = engine.facts
    slots = f"{facts.slots} slots of {facts.context_tokens} tokens"
    sys.stdout.write(f"serving {facts.name} (sha256:{model.sha256[:12]}, {slots}) on {server.address}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
