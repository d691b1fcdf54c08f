"""Runs one stage for a command: the request as a Job in a subprocess, progress on stderr, the result from the store.

Called by train, export and dataset import; its line of progress also by generate and evaluate. It decides nothing about
the stage; what is done already is not done again.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.text import Text

from stillhouse.cache import cache_directory
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
    import subprocess

    from stillhouse.artifacts.store import Store
    from stillhouse.rpc.subprocesses import JobProcess

ResultT = TypeVar("ResultT", bound=Message)

_LOOK_SECONDS = 0.2
_PLAIN_SECONDS = 10.0
_STOP_SECONDS = 60.0


def run_stage(
    store: Store, stage: StageDefinition, request: Message, result_type: type[ResultT], *, screen: Console
) -> ResultT:
    """The stage's result, from its manifest where it is done, else from a Job run now.

    Raises PermanentError or TemporaryError with the Job's own message, Cancelled or Exit when it was stopped.
    """
    from stillhouse.artifacts.digests import request_key
    from stillhouse.artifacts.messages import unpack_as

    key = request_key(stage.name, stage.logic_version, request)
    manifest = store.read_manifest(stage.name, key)
    if manifest is not None:
        screen.print(f"{stage.name}: done already ({key[:12]})", markup=False)
    else:
        manifest = _run_job(store, stage, request, key, screen)
    return unpack_as(manifest.result, result_type)


def log_path(stage: StageDefinition, key: str) -> Path:
    """Where the Job's log goes: $STILLHOUSE_CACHE (~/.cache/stillhouse)/commands."""
    return cache_directory(os.environ) / "commands" / f"{stage.name}-{key[:12]}.log"


@contextmanager
def progress_line(screen: Console) -> Iterator[Callable[[Progress], None]]:
    """Shows progress: one line redrawn in a terminal, else a line every ten seconds and the last."""
    if screen.is_terminal:
        with screen.status("starting") as status:
            yield lambda progress: status.update(Text(_words(progress)))
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
    from stillhouse.cli.progress import progress_lines

    return f"{progress.stage}: {'  '.join(progress_lines(progress))}"


def _run_job(store: Store, stage: StageDefinition, request: Message, key: str, screen: Console) -> Manifest:
    from stillhouse.cli.files import make_folder
    from stillhouse.rpc.process import stop_on_signals
    from stillhouse.rpc.subprocesses import end_process, start_job

    if store.uri.startswith("memory:"):
        raise InvalidArgument(f"{store.uri}: a Job is a process of its own and can't share memory; use file://")
    log = log_path(stage, key)
    make_folder(log.parent)
    screen.print(f"{stage.name}: log {log}", markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as folder, stop_on_signals() as stopping:
        sent = _with_store(request, store.uri)
        job = start_job(f"stillhouse.{stage.service}", sent, name=stage.name, directory=Path(folder), log=log)
        try:
            follow(store, key, job.process, screen, stopped=lambda: stopping.event.wait(_LOOK_SECONDS))
        finally:
            end_process(job.process, _STOP_SECONDS)
        if stopping.event.is_set():
            screen.print("stopped; the same command goes on from here", markup=False)
            raise typer.Exit(stopping.exit_code)
        manifest = store.read_manifest(stage.name, key)
        if job.process.returncode or manifest is None:
            raise _failure(job, stage)
        return manifest


def follow(
    store: Store, key: str, process: subprocess.Popen[bytes], screen: Console, *, stopped: Callable[[], bool]
) -> None:
    """Shows what a Job reports until it ends or `stopped`; not what a run that was stopped had left there."""
    from stillhouse.rpc.operation import read_progress

    left = read_progress(store, key)
    with progress_line(screen) as show:
        while process.poll() is None and not stopped():
            progress = read_progress(store, key)
            if progress is not None and progress != left:
                show(progress)


def _with_store(request: Message, store_uri: str) -> Message:
    sent = type(request)()
    sent.CopyFrom(request)
    sent.store_uri = store_uri  # type: ignore[attr-defined]
    return sent


def _failure(job: JobProcess, stage: StageDefinition) -> StillhouseError:
    code, words = job.process.returncode, job.exit_message()
    if code == EXIT_TERMINATED:
        return Cancelled(words)
    words = f"{stage.name}: {words}" if str(job.log) in words else words
    return TemporaryError(words) if code == EXIT_TEMPORARY or code < 0 else PermanentError(words)
