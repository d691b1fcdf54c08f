"""`python -m stillhouse.<service> run --request URI | serve ...`: the main function of every service that runs Jobs.

Called by the services' `__main__`. It must not know any service.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message

from stillhouse.artifacts.messages import parse_json, unpack_any
from stillhouse.artifacts.store import Store
from stillhouse.errors import EXIT_DONE, Cancelled, InvalidArgument, NotFound
from stillhouse.rpc.execution import execute
from stillhouse.rpc.logs import configure_logging
from stillhouse.rpc.operation import Operation
from stillhouse.rpc.process import StopRequest, stop_on_signals, watch_runner
from stillhouse.rpc.status import classified, exit_code_of, status_of
from stillhouse.rpc.tracing import configure_tracing, span

TERMINATION_LOG_VARIABLE = "STILLHOUSE_TERMINATION_LOG"
_TERMINATION_LOG = Path("/dev/termination-log")
# Kubernetes reads no more of a termination message.
_TERMINATION_BYTES = 4096


def job_main(
    service: str,
    operations: Sequence[Operation[Any, Any]],
    serve: Callable[[Sequence[str]], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Runs one request, or serves; returns the exit code (see `stillhouse.errors`). Main thread only.

    `serve` gets the arguments behind the word `serve`. `argv` is by default the process's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        return serve(arguments[1:])
    parser = argparse.ArgumentParser(prog=f"python -m stillhouse.{service}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute one request and exit")
    run.add_argument("--request", required=True, metavar="URI", help="JSON of the request: a path, file:// or s3://")
    commands.add_parser("serve", help="offer the same over gRPC", add_help=False)
    options = parser.parse_args(arguments)
    configure_logging(service)
    configure_tracing(service, os.environ)
    with stop_on_signals() as stop:
        watch_runner(stop, os.environ)
        return run_request(operations, options.request, stop, os.environ)


def run_request(
    operations: Sequence[Operation[Any, Any]], uri: str, stop: StopRequest, environ: Mapping[str, str]
) -> int:
    """Executes the request at `uri`, writes the termination message and returns the exit code. Raises nothing."""
    log = structlog.get_logger("stillhouse.job")
    try:
        request = read_request(uri)
        operation = _operation_for(operations, request)
        with span(operation.stage, attributes={"stillhouse.stage": operation.stage}, everywhere=True):
            execute(operation, request, stopping=stop.event)
        error: BaseException | None = None
    except Exception as exc:
        error = exc
    if error is None:
        code = EXIT_DONE
    else:
        code = stop.exit_code if isinstance(error, Cancelled) else exit_code_of(error)
        _log_failure(log, error, code)
    _write_termination_message(error, environ)
    return code


def read_request(uri: str) -> Message:
    """The request in the file or object at `uri`: JSON of a google.protobuf.Any, its type under "@type".

    `uri` is a path, a file:// URI, or an object of a store. Raises NotFound or InvalidArgument naming it.
    """
    scheme, _, rest = uri.partition("://")
    if not rest or scheme == "file":
        path = Path(rest if scheme == "file" else uri)
        try:
            data: bytes | None = path.read_bytes()
        except OSError as exc:
            raise NotFound(f"request {uri} can't be read: {exc.strerror or exc}") from exc
    else:
        folder, _, name = uri.rpartition("/")
        data = Store.open(folder).read_object(name)
    if data is None:
        raise NotFound(f"request {uri} does not exist")
    packed = parse_json(data, any_pb2.Any(), source=f"request {uri}")
    return unpack_any(packed)


def _operation_for(operations: Sequence[Operation[Any, Any]], request: Message) -> Operation[Any, Any]:
    name = request.DESCRIPTOR.full_name
    for operation in operations:
        if operation.request_type.DESCRIPTOR.full_name == name:
            return operation
    known = ", ".join(operation.request_type.DESCRIPTOR.full_name for operation in operations)
    raise InvalidArgument(f"this service does not execute {name}; it executes {known}")


def _log_failure(log: Any, error: BaseException, code: int) -> None:
    if isinstance(error, Cancelled):
        log.info("stopped", exit_code=code, message=error.message)
    elif (known := classified(error)) is not None:
        log.error("failed", exit_code=code, error=type(known).__name__, message=known.message)
    else:
        log.error("failed unexpectedly", exit_code=code, error=type(error).__name__, exc_info=error)


def _termination_message(error: BaseException | None) -> bytes:
    """The status as JSON, its texts cut until Kubernetes keeps the whole: half of a JSON text would tell nothing."""
    message = b""
    for characters in (1500, 500, 150):
        status = status_of(error, characters=characters)
        message = json_format.MessageToJson(status, indent=None, ensure_ascii=False).encode() + b"\n"
        if len(message) <= _TERMINATION_BYTES:
            break
    return message


def _write_termination_message(error: BaseException | None, environ: Mapping[str, str]) -> None:
    named = environ.get(TERMINATION_LOG_VARIABLE)
    path = Path(named) if named else _TERMINATION_LOG
    if not named and not path.exists():
        return
    try:
        path.write_bytes(_termination_message(error))
    except OSError as exc:
        structlog.get_logger("stillhouse.job").warning("no termination message", path=str(path), reason=str(exc))
