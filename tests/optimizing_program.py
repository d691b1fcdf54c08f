"""A program that optimises with a scripted model and is killed with SIGKILL, again and again; run by tests.

`python optimizing_program.py FOLDER SHAPE OPTIMIZER MODEL KILLS SEED`: each run is a process of its own, forked from
this one, as importing DSPy takes longer than a run. It prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import gepa
import optuna

from scripted_subject import QuizPair, QuizPredict, ScriptedSubject, at_random, by_request, optimized
from stillhouse.artifacts.store import Store
from stillhouse.optimizer.options import Optimizer
from stillhouse.programs.document import program_bytes

# Otherwise every run imports them anew.
IMPORTED = (gepa.__name__, optuna.__name__)
SHAPES = {"predict": QuizPredict, "pair": QuizPair}
MODELS = {"sampling": at_random, "by-request": by_request}
THREADS = 2
SECONDS_AN_ANSWER = 0.004


class Runs:
    """Runs of one optimisation against one folder."""

    def __init__(self, folder: Path, shape: str, optimizer: str, model: str) -> None:
        self._folder = folder
        self._shape = SHAPES[shape]
        self._optimizer = Optimizer(optimizer)
        self._script = MODELS[model]

    def start(self, store: str, attempt: str) -> int:
        """A child that runs to its end unless it is killed; it leaves ATTEMPT.asked, and ATTEMPT.json in the end."""
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            self._run(store, attempt)
            code = 0
        finally:
            os._exit(code)

    def finish(self, store: str, attempt: str) -> tuple[bytes, float]:
        """The program of an uninterrupted run, and how many seconds it took."""
        started = time.monotonic()
        _, status = os.waitpid(self.start(store, attempt), 0)
        assert status == 0, f"attempt {attempt} failed"
        return (self._folder / f"{attempt}.json").read_bytes(), time.monotonic() - started

    def asked(self, attempts: Sequence[str]) -> int:
        """Questions that were answered in these attempts, kept or not."""
        logs = [self._folder / f"{attempt}.asked" for attempt in attempts]
        return sum(log.stat().st_size for log in logs if log.exists())

    def _run(self, store: str, attempt: str) -> None:
        log = os.open(self._folder / f"{attempt}.asked", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

        def script(text: str, fields: Sequence[str]) -> str:
            os.write(log, b".")
            return self._script(text, fields)

        subject = ScriptedSubject(script, seconds=SECONDS_AN_ANSWER)
        run = optimized(
            Store.open(str(self._folder / store)),
            subject,
            program=self._shape,
            optimizer=self._optimizer,
            threads=THREADS,
            minibatch=True,
            minibatch_size=4,
            trials=4,
        )
        (self._folder / f"{attempt}.json").write_bytes(program_bytes(run.program))


def main(folder: Path, shape: str, optimizer: str, model: str, kills: int, seed: int) -> None:
    runs = Runs(folder, shape, optimizer, model)
    moments = random.Random(seed)
    fresh, seconds = runs.finish("fresh", "fresh") if kills else (b"", 0.0)
    attempts = []
    cut = 0
    for number in range(kills):
        attempts.append(f"killed-{number}")
        child = runs.start("store", attempts[-1])
        # Each attempt begins with a replay, so that later ones come further.
        time.sleep(moments.uniform(0.02, seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        cut += os.WIFSIGNALED(status)
    attempts.append("last")
    last, _ = runs.finish("store", "last")
    result = {
        "sha256": sha256(last).hexdigest(),
        "equals_fresh": last == fresh,
        "asked_fresh": runs.asked(["fresh"]),
        "asked": runs.asked(attempts),
        "kept": sum(1 for _ in (folder / "store" / "answers").rglob("*.json")),
        "cut": cut,
        "threads": THREADS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
