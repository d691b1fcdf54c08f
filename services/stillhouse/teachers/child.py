"""A program of ours that serves a teacher from a process of its own, and ends with this one.

Called by `gguf` and `emulator`. It must not know which program: its first line of output says where it is.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

from stillhouse.errors import FailedPrecondition
from stillhouse.rpc.process import WATCH_STDIN_VARIABLE
from stillhouse.rpc.subprocesses import end_process
from stillhouse.teachers.teacher import Answer, Question, Teacher

_STOP_SECONDS = 10.0


class Child:
    """A running `python -m MODULE`; its standard input is held open for as long as this process lives."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[str], first_line: str) -> None:
        """Made by `start_child`."""
        self._process = process
        self._log = log
        self.first_line = first_line

    async def close(self) -> None:
        """Asks it to stop; ends it after 10 s."""
        await asyncio.to_thread(_end, self._process, self._log)


class ChildTeacher:
    """A teacher whose server is a child."""

    def __init__(self, teacher: Teacher, child: Child) -> None:
        """Owns both."""
        self.identity = teacher.identity
        self.slots = teacher.slots
        self._teacher = teacher
        self._child = child

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        """See Teacher."""
        return await self._teacher.ask(question, deadline_seconds=deadline_seconds)

    async def close(self) -> None:
        """See Teacher."""
        try:
            await self._teacher.close()
        finally:
            await self._child.close()


async def start_child(arguments: Sequence[str], environ: Mapping[str, str], *, start_seconds: float) -> Child:
    """Starts `python -m ARGUMENTS` with that environment and waits for its first line.

    Raises FailedPrecondition, with its last words, where it ends or says nothing within `start_seconds`.
    """
    log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed with the child
    process = await asyncio.to_thread(_spawn, arguments, environ, log)
    try:
        async with asyncio.timeout(start_seconds):
            line, within = await _first_line(process), ""
    except TimeoutError:
        line, within = "", f" within {start_seconds:g} s"
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_end, process, log))
        raise
    if line:
        return Child(process, log, line)
    words = await asyncio.to_thread(_last_words, process, log)
    raise FailedPrecondition(f"python -m {' '.join(arguments)} did not start{within}: {words}")


def _spawn(arguments: Sequence[str], environ: Mapping[str, str], log: IO[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**environ, WATCH_STDIN_VARIABLE: "1"},
        # Ctrl-C is for this process, which then stops the child when nothing is in flight any more.
        start_new_session=True,
    )


async def _first_line(process: subprocess.Popen[bytes]) -> str:
    """Without a thread that would hang on a silent child."""
    if process.stdout is None:
        raise FailedPrecondition("the child has no output")
    descriptor = process.stdout.fileno()
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    read = bytearray()

    def on_readable() -> None:
        piece = os.read(descriptor, 4096)
        read.extend(piece)
        if (not piece or b"\n" in read) and not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, on_readable)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
    line, newline, _ = bytes(read).partition(b"\n")
    return line.decode(errors="replace").strip() if newline else ""


def _last_words(process: subprocess.Popen[bytes], log: IO[str]) -> str:
    end_process(process, _STOP_SECONDS)
    log.seek(0)
    lines = log.read().strip().splitlines()
    _end(process, log)
    return lines[-1] if lines else f"it said nothing and ended with {process.returncode}"


def _end(process: subprocess.Popen[bytes], log: IO[str]) -> None:
    end_process(process, _STOP_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
    log.close()
