"""DSPy's bootstrapping of demos, with several rows asked at a time; the demos are the same.

Called by DSPy's optimizers, which ask one row after the other. Nearly every answer that is asked for ahead of its turn
is one that they come to; each is in the journal when they do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from itertools import islice
from typing import Any

import dspy
from dspy.teleprompt import random_search, utils
from dspy.teleprompt.bootstrap import BootstrapFewShot


@contextmanager
def bootstrapping_ahead() -> Iterator[None]:
    """DSPy's optimizers bootstrap with `dspy.settings.num_threads` rows at a time meanwhile."""
    optimizers = (utils, random_search)
    for module in optimizers:
        module.BootstrapFewShot = BootstrapAhead
    try:
        yield
    finally:
        for module in optimizers:
            module.BootstrapFewShot = BootstrapFewShot


class BootstrapAhead(BootstrapFewShot):  # type: ignore[misc]
    """BootstrapFewShot that has asked the rows to come when it comes to them.

    How many rows ahead follows from its results so far, so that a replay asks the same.
    """

    def _bootstrap(self, *, max_bootstraps: int | None = None) -> None:
        self._missing = max_bootstraps or self.max_bootstrapped_demos
        self._tried = self._made = 0
        self._rows = iter(self.trainset)
        self._asked: deque[Future[None]] = deque()
        # Leaving it waits for the answers under way: they are paid, and a replay asks for them.
        with ThreadPoolExecutor(dspy.settings.num_threads, thread_name_prefix="bootstrap") as self._asking:
            super()._bootstrap(max_bootstraps=max_bootstraps)

    def _bootstrap_one_example(self, example: dspy.Example, round_idx: int = 0) -> bool:
        if round_idx == 0:
            self._tried += 1
            for row in islice(self._rows, max(0, self._rows_ahead() - len(self._asked))):
                # A copy of its own: the row that is not to be among the demos is taken from them in place.
                asked = self._asking.submit(copy_context().run, self._ask, self.teacher.deepcopy(), row)
                self._asked.append(asked)
            wait([self._asked.popleft()])
        made = bool(super()._bootstrap_one_example(example, round_idx))
        self._made += made
        return made

    def _rows_ahead(self) -> int:
        """As many as it takes to make the demos that are missing, by the share of rows that made one so far."""
        share = (self._made + 1) / self._tried
        return min(math.ceil((self._missing - self._made) / share), int(dspy.settings.num_threads))

    def _ask(self, teacher: Any, row: dspy.Example) -> None:
        for predictor in teacher.predictors():
            predictor.demos = [demo for demo in predictor.demos if demo != row]
        # Whatever is wrong with this row is found again when its turn comes.
        with suppress(Exception), dspy.context(trace=[], **self.teacher_settings):
            teacher(**row.inputs())
