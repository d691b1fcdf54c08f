"""Runs one stage for a command: the request as a Job in a subprocess, progress on stderr, the result from the store.

Called by train, export and dataset import. It decides nothing about the stage; what is done already is not done again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from rich.console import Console

from stillhouse.errors import (
    EXIT_TEMPORARY,
    EXIT_TERMINATED,
    Cancelled,
    InvalidArgument,
    PermanentError,
    StillhouseError,
    TemporaryError,
)
from stillhouse.stages import StageDefinition
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import Progress

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store

ResultT = TypeVar("ResultT", bound=Message)

_LOOK_SECONDS = 0.2
_PLAIN_SECONDS = 10.0
_STOP_SECONDS = 60.0


def run_stage(store: Store, stage: StageDefinition, request: Message, result: ResultT, *, screen: Console) -> ResultT:
    """The stage's result, from its manifest where it is done, else from a Job run now. Fills and returns `result`.

    Raises PermanentError or TemporaryError with the Job's own message, Cancelled or Exit when it was stopped.
    """
    from stillhouse.artifacts.digests import request_key

    key = request_key(stage.name, stage.logic_version, request)
    manifest = store.read_manifest(stage.name, key)
    if manifest is not None:
        screen.print(f"{stage.name}: done already ({key[:12]})", markup=False)
    else:
        manifest = _run_job(store, stage, request, key, screen)
    manifest.result.Unpack(result)
    return result


def log_path(stage: StageDefinition, key: str) -> Path:
    """Where the Job's log goes: $STILLHOUSE_CACHE (~/.cache/stillhouse)/commands."""
    cache = Path(os.environ.get("STILLHOUSE_CACHE") or Path.home() / ".cache" / "stillhouse")
    return cache / "commands" / f"{stage.name}-{key[:12]}.log"


@contextmanager
def progress_line(screen: Console) -> Iterator[Callable[[Progress], None]]:
    """Shows progress: one line redrawn in a terminal, else a line every ten seconds and the last."""
    if screen.is_terminal:
        with screen.status("starting") as status:
            yield lambda progress: status.update(_words(progress))
        return
    last_at = float("-inf")
    last_words = ""

    def say(progress: Progress) -> None:
        nonlocal last_at, last_words
        words = _words(progress)
        ended = bool(progress.total) and progress.done >= progress.total
        if words != last_words and (ended or time.monotonic() - last_at >= _PLAIN_SECONDS):
            screen.print(words, markup=False, soft_wrap=True)
            last_at, last_words = time.monotonic(), words

    yield say


def _words(progress: Progress) -> str:
    from stillhouse.cli.progress import describe
    from stillhouse.controller.plan import PlannedStep, StepState

    step = PlannedStep(progress.stage, "", progress.stage, StepState.RUNNING, "", message="")
    return f"{progress.stage}: {describe(step, progress)}"


def _run_job(store: Store, stage: StageDefinition, request: Message, key: str, screen: Console) -> Manifest:
    from stillhouse.controller.local import end_process
    from stillhouse.rpc.process import stop_on_signals

    if store.uri.startswith("memory:"):
        raise InvalidArgument(f"{store.uri}: a Job is a process of its own and can't share memory; use file://")
    log = log_path(stage, key)
    log.parent.mkdir(parents=True, exist_ok=True)
    screen.print(f"{stage.name}: log {log}", markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as folder, stop_on_signals() as stopping:
        process = _spawn(stage, _write_request(request, store.uri, Path(folder)), Path(folder), log)
        try:
            _follow(store, key, process, screen, stopped=lambda: stopping.event.wait(_LOOK_SECONDS))
        finally:
            end_process(process, _STOP_SECONDS)
        if stopping.event.is_set():
            screen.print("stopped; the same command goes on from here", markup=False)
            raise typer.Exit(stopping.exit_code)
        manifest = store.read_manifest(stage.name, key)
        if process.returncode or manifest is None:
            raise _failure(process.returncode, Path(folder) / "status.json", stage, log)
        return manifest


def _follow(
    store: Store, key: str, process: subprocess.Popen[bytes], screen: Console, *, stopped: Callable[[], bool]
) -> None:
    from stillhouse.rpc.operation import read_progress

    with progress_line(screen) as show:
        while process.poll() is None and not stopped():
            progress = read_progress(store, key)
            if progress is not None:
                show(progress)


def _write_request(request: Message, store_uri: str, folder: Path) -> Path:
    sent = type(request)()
    sent.CopyFrom(request)
    sent.store_uri = store_uri  # type: ignore[attr-defined]
    packed = AnyMessage()
    packed.Pack(sent)
    path = folder / "request.json"
    path.write_text(json_format.MessageToJson(packed), encoding="utf-8")
    return path


def _spawn(stage: StageDefinition, request: Path, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    environment: Mapping[str, str] = {
        **os.environ,
        "STILLHOUSE_WATCH_STDIN": "1",
        "STILLHOUSE_TERMINATION_LOG": str(folder / "status.json"),
    }
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", f"stillhouse.{stage.service}", "run", "--request", str(request)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which lets the Job save a checkpoint
        )


def _failure(exit_code: int, status: Path, stage: StageDefinition, log: Path) -> StillhouseError:
    try:
        message = str(json.loads(status.read_text(encoding="utf-8")).get("message", ""))
    except (OSError, ValueError):
        message = ""
    words = message or f"{stage.name} ended with {exit_code} and no status; see {log}"
    if exit_code == EXIT_TERMINATED:
        return Cancelled(words)
    return TemporaryError(words) if exit_code == EXIT_TEMPORARY or exit_code < 0 else PermanentError(words)
