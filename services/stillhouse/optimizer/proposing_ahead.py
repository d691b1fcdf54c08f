"""DSPy's proposals of instructions, with several asked at a time; the instructions are the same.

Called by MIPROv2, which asks for one after the other. None follows from another, so all that are to come are known at
once; each is in the journal when its turn comes.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any

import dspy
from dspy.propose import GroundedProposer
from dspy.teleprompt import mipro_optimizer_v2


@contextmanager
def proposing_ahead() -> Iterator[None]:
    """MIPROv2 has `dspy.settings.num_threads` instructions proposed at a time meanwhile."""
    mipro_optimizer_v2.GroundedProposer = ProposerAhead
    try:
        yield
    finally:
        mipro_optimizer_v2.GroundedProposer = GroundedProposer


class ProposerAhead(GroundedProposer):  # type: ignore[misc]
    """GroundedProposer that has asked for every instruction before it comes to the first.

    It goes through its proposals twice: once noting what each is asked with, random numbers included, then in earnest.
    """

    def propose_instructions_for_program(self, *args: Any, **settings: Any) -> Any:
        """As DSPy has it."""
        before = self.rng.getstate()
        self._noted: list[tuple[ProposerAhead, dict[str, Any]]] | None = []
        super().propose_instructions_for_program(*args, **settings)
        noted, self._noted = self._noted, None
        self.rng.setstate(before)
        with ThreadPoolExecutor(dspy.settings.num_threads, thread_name_prefix="propose") as asking:
            for proposer, wanted in noted:
                asking.submit(copy_context().run, proposer.ask_ahead, wanted)
        return super().propose_instructions_for_program(*args, **settings)

    def propose_instruction_for_predictor(self, **wanted: Any) -> Any:
        """As DSPy has it, or a note of it."""
        if self._noted is None:
            return super().propose_instruction_for_predictor(**wanted)
        proposer = copy.copy(self)
        proposer._noted, proposer.rng = None, random.Random()  # noqa: S311 - it repeats DSPy's
        proposer.rng.setstate(self.rng.getstate())
        self._noted.append((proposer, wanted))
        self.rng.randint(0, 10**9)  # the rollout that DSPy draws for each
        return ""

    def ask_ahead(self, wanted: dict[str, Any]) -> None:
        """Whatever is wrong with this proposal is found again when its turn comes."""
        with suppress(Exception):
            self.propose_instruction_for_predictor(**wanted)
