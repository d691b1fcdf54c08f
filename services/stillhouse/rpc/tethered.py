"""Runs another Python program in this process, and kills it when its runner is gone.

`tool` starts it as `python -m stillhouse.rpc.tethered -m MODULE ARGS...`, or with a script's path instead of
`-m MODULE`. It imports nothing of ours: what it runs need not be.

Standard input is a pipe from the runner, which ends however the runner dies, by SIGKILL too. (Linux can signal a child
when its parent dies, but counts the parent's thread, and asks for code between fork and exec.)
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Ends as the program does, or by SIGKILL of its whole process group once standard input has ended."""
    _watch(_take_input())
    arguments = sys.argv[1:]
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


def _take_input() -> int:
    """The pipe, out of the program's reach, which finds an empty standard input instead."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _watch(pipe: int) -> None:
    def wait() -> None:
        while os.read(pipe, 4096):
            pass
        # The program's own children, such as those of pip, are in its group, if it leads one.
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="watch-runner", daemon=True).start()


if __name__ == "__main__":
    main()
