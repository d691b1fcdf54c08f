"""The whole optimisation: a search, the same search again without a call, and the program that both found.

Called by the stage. It must not know how the models are reached or where a program is put.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stillhouse.errors import DataLoss, FailedPrecondition
from stillhouse.optimizer.evaluations import Evaluations
from stillhouse.optimizer.journal import REPLAY, Journal, installed
from stillhouse.optimizer.plan import Search
from stillhouse.optimizer.search import Found, search
from stillhouse.optimizer.usage import Usage
from stillhouse.programs.document import program_bytes
from stillhouse.programs.dspy_programs import capture
from stillhouse.programs.guidance import probes_of
from stillhouse.programs.program import Program
from stillhouse.roles.role import Role
from stillhouse.v1.common_pb2 import Progress


@dataclass(frozen=True)
class Optimized:
    """The program, how it was found, and what that took."""

    program: Program
    found: Found
    usage: Usage


def optimize(plan: Search, role: Role, journal: Journal, *, report: Callable[[Progress], None]) -> Optimized:
    """The best program, once a replay that may call nothing has found the same.

    Raises FailedPrecondition (few readable answers, an optimizer that fails), what the models and the metric raise,
    Cancelled, and DataLoss where the replay found another program.
    """
    # In the main thread DSPy takes SIGINT for itself, and breaks evaluations off as if their rows had failed.
    with ThreadPoolExecutor(1, thread_name_prefix="optimize") as apart:
        return apart.submit(_optimize, plan, role, journal, report).result()


def _optimize(plan: Search, role: Role, journal: Journal, report: Callable[[Progress], None]) -> Optimized:
    with installed(journal):
        found = search(plan, _telling(report, journal))
        program = _captured(found, role)
        with journal.replay():
            same = _makes(plan, role, program, ended_by=REPLAY if found.ended_by else "")
    if not same:
        raise DataLoss(
            "a replay of this optimisation from its kept answers made another program, so none is written: the program "
            "or the metric does something at random, or the answer log lost an answer"
        )
    return Optimized(program, found, journal.usage)


def _captured(found: Found, role: Role) -> Program:
    return capture(found.best.program, role=role.name, role_version=role.version, probes=probes_of(role))


def _makes(plan: Search, role: Role, program: Program, *, ended_by: str) -> bool:
    """Whether the same search comes to the same program and the same end."""
    try:
        again = search(plan, lambda *_: None)
    except FailedPrecondition:
        return False
    return again.ended_by == ended_by and program_bytes(_captured(again, role)) == program_bytes(program)


def _telling(report: Callable[[Progress], None], journal: Journal) -> Callable[[Evaluations, int, int], None]:
    def tell(evaluations: Evaluations, done: int, total: int) -> None:
        number = len(evaluations.finished)
        usage = journal.usage
        figures = {
            "evaluation": number,
            "calls": usage.calls,
            "from_log": usage.from_log,
            "cost_usd": usage.cost_usd,
        }
        if (best := evaluations.best) is not None:
            figures |= {"baseline_score": evaluations.finished[0].score, "best_score": best.score}
        progress = Progress(message=_doing(evaluations, total), done=done, total=total, unit="rows", figures=figures)
        if not total:
            progress.done, progress.unit = usage.calls, "calls"
        report(progress)

    return tell


def _doing(evaluations: Evaluations, rows: int) -> str:
    if evaluations.is_over:
        return "the rows that were held out"
    if not rows:
        return "making demos and instructions"
    number = len(evaluations.finished)
    return f"candidate {number}" if number else "the role's own prompt"
