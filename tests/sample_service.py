"""A batch service for tests of the job runner: `python -m sample_service run --request FILE | serve`.

What it does is named by the request's `name`; its pace by `revision`, in seconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from stillhouse.errors import InvalidArgument, Unavailable
from stillhouse.rpc.batch import stream_operation
from stillhouse.rpc.job import job_main
from stillhouse.rpc.operation import JobContext, Operation
from stillhouse.rpc.server import serve_main
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResponse, PrepareBaseResult
from stillhouse.v1.trainer_pb2_grpc import TrainerServiceServicer, add_TrainerServiceServicer_to_server

TOKEN = "do-not-log-me"


def work(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    """Does what `request.name` says."""
    return BEHAVIOURS[request.name](context, request)


def _finish(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    context.report(Progress(message="nearly there", done=1, total=1, unit="steps"))
    (context.workspace / "scratch").write_text("x")
    files = [context.store.put_bytes(b"{}", name="config.json", producer_key=context.key)]
    return PrepareBaseResult(base=ArtifactSet(files=files))


def _count_until_stopped(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    state = context.read_checkpoint() or {"attempts": 0}
    for step in range(1, 1201):
        context.report(Progress(message=f"step {step}", done=step, total=1200, unit="steps"))
        if context.stopping.wait(float(request.revision or 0.05)):
            context.write_checkpoint({"attempts": state["attempts"] + 1, "step": step})
        context.raise_if_stopping()
    return PrepareBaseResult()


def _ignore_the_stop(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    context.report(Progress(message="deaf"))
    time.sleep(120)
    return PrepareBaseResult()


def _forget_to_store(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    return PrepareBaseResult(base=ArtifactSet(files=[Artifact(name="lost.bin", sha256="a" * 64)]))


def _raise(make: Callable[[], Exception]) -> Callable[[JobContext, PrepareBaseRequest], PrepareBaseResult]:
    def behave(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
        raise make()

    return behave


def _read_a_blob(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    context.store.read_bytes(request.directory.files[0])
    return PrepareBaseResult()


def _die(context: JobContext, request: PrepareBaseRequest) -> PrepareBaseResult:
    os.kill(os.getpid(), 9)
    return PrepareBaseResult()


BEHAVIOURS: dict[str, Callable[[JobContext, PrepareBaseRequest], PrepareBaseResult]] = {
    "finish": _finish,
    "count": _count_until_stopped,
    "deaf": _ignore_the_stop,
    "forget": _forget_to_store,
    "read": _read_a_blob,
    "die": _die,
    "invalid": _raise(lambda: InvalidArgument("row 3 of rows.jsonl is broken; mend it", field="rows")),
    "unavailable": _raise(lambda: Unavailable("the hub can't be reached", retry_after_seconds=1.5)),
    "bug": _raise(lambda: KeyError(f"Bearer {TOKEN}")),
    "memory": _raise(lambda: MemoryError()),
    "full": _raise(lambda: OSError(28, "No space left on device")),
}

OPERATION = Operation("base", 1, PrepareBaseRequest, work, module="sample_service")


class SampleServicer(TrainerServiceServicer):
    """Offers the operation over the network."""

    def PrepareBase(self, request: PrepareBaseRequest, context: grpc.ServicerContext) -> Iterator[PrepareBaseResponse]:
        """See trainer.proto."""
        return stream_operation(OPERATION, request, context, PrepareBaseResponse)


def add_services(server: grpc.Server) -> Sequence[str]:
    """For start_server."""
    add_TrainerServiceServicer_to_server(SampleServicer(), server)
    return ["stillhouse.v1.TrainerService"]


def environment(**variables: str) -> dict[str, str]:
    """An environment in which `python -m sample_service` is found."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **variables}


if __name__ == "__main__":
    sys.exit(job_main("sample_service", [OPERATION], lambda argv: serve_main("sample_service", add_services, argv)))
