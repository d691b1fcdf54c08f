"""Peak memory of the teacher stage at few and at many records.

    python benchmarks/teacher_memory.py [--records 1000 100000] [--client] [--output FILE.json]

The stage runs in a process of its own for each count, with a teacher in that process whose 100 answers are judged once:
100,000 records through the emulator take about 8 ms of CPU time each. --client loads the Vertex client beside it, as a
run that asks Vertex does. Exit code 1: a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from measuring import MODEL, ROLE, SEED, carry_out, usage_of

if TYPE_CHECKING:
    from stillhouse.roles.role import Role
    from stillhouse.teacher_generator.asking import StageAsker
    from stillhouse.teacher_generator.options import StageOptions
    from stillhouse.teachers.dialogue import Concept
    from stillhouse.teachers.teacher import Answer, Question

TARGET_RATIO = 1.2
_POOL = 100
_MARK = re.compile(r"\(no\. (\d+)\)")


@dataclass(frozen=True)
class Work:
    """What the stage's process is told."""

    folder: str
    records: int
    concurrency: int
    with_client: bool


class Reciter:
    """A teacher that knows by heart what its role's author says of a pool of examples."""

    slots: int | None = None

    def __init__(self, role: Role) -> None:
        """Has the pool written and answered."""
        self.identity = "reciter:pool"
        self._group_field = role.group_field
        self._pool = list(role.examples(count=_POOL, seed=SEED, planted=0.0))
        self._answers = [role.author(example, seed=SEED) for example in self._pool]

    def concepts(self, count: int) -> Iterator[Concept]:
        """The pool again and again, each time with a number in the text, so that no two questions are equal."""
        from stillhouse.teachers.dialogue import Concept

        for number in range(count):
            example = self._pool[number % _POOL]
            marked = f"{example.inputs[self._group_field]} (no. {number})"
            yield Concept(number + 1, {**example.inputs, self._group_field: marked}, example.labels)

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:  # noqa: ARG002 - it never waits
        """The answer to that number."""
        from stillhouse.teachers.teacher import Answer, FinishReason

        await asyncio.sleep(0)
        mark = next(found for each in question.messages[::-1] if (found := _MARK.search(each.content)))
        return Answer(self._answers[int(mark[1]) % _POOL], FinishReason.STOP, 900, 300)

    async def close(self) -> None:
        """Nothing to give back."""


def run_stage(work: Work) -> None:
    """Generation, answer log and paid teacher as `stillhouse generate` joins them, with a teacher that recites."""
    from teacher_work import stage_request, teacher_model

    from stillhouse.artifacts.answers import AnswerLog
    from stillhouse.artifacts.store import Store
    from stillhouse.roles.role import load_role
    from stillhouse.teacher_generator.asking import StageAsker
    from stillhouse.teacher_generator.generation import Generation, Sources
    from stillhouse.teacher_generator.ledger import Ledger, LedgerFiles
    from stillhouse.teacher_generator.options import options_of
    from stillhouse.teacher_generator.progress import Reporter
    from stillhouse.teachers.budget import Budget
    from stillhouse.teachers.pacing import Pace, Pacer
    from stillhouse.teachers.paid import PaidTeacher
    from stillhouse.teachers.purse import Purse

    if work.with_client:
        importlib.import_module("stillhouse.teachers.vertex")
    role = cast("Role", quick_role(load_role(ROLE)))
    reciter = Reciter(role)
    purse = Purse(AnswerLog(Store.open(f"file://{work.folder}/store")), Budget(None), {})

    @asynccontextmanager
    async def open_asker(_: StageOptions) -> AsyncIterator[StageAsker]:
        paid = PaidTeacher(reciter, log=purse.log, budget=purse.budget, pacer=Pacer(Pace(work.concurrency)))
        asker = StageAsker(paid, purse, MODEL)
        reporter.opened(asker)
        yield asker
        await paid.close()

    with ExitStack() as stack:
        paths = [Path(work.folder, name) for name in ("records.jsonl", "calls.jsonl", "dead-letters.jsonl")]
        ledger = Ledger(role, LedgerFiles(*(stack.enter_context(path.open("w", encoding="utf-8")) for path in paths)))
        reporter = Reporter(ledger, lambda _: None)
        sources = Sources(lambda: reciter.concepts(work.records), lambda _: (), open_asker)
        options = options_of(stage_request(role, teacher_model(), work.records), role)
        asyncio.run(Generation(role, options, sources, ledger, on_progress=reporter.settled).run())


def quick_role(role: Any) -> SimpleNamespace:
    """The role, which judges each answer once and then remembers: 100 judgements whatever the records."""

    def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
        found: dict[tuple[str, ...], Any] = {}

        def judged(*arguments: Any) -> Any:
            # The outputs stand last, but for a selection of guards.
            outputs = next(each for each in arguments[::-1] if isinstance(each, Mapping))
            key = tuple(outputs.values())
            if key not in found:
                found[key] = function(*arguments)
            return found[key]

        return judged

    names = {name: getattr(role, name) for name in dir(role) if not name.startswith("_")}
    return SimpleNamespace(
        **names | {name: remembering(names[name]) for name in ("problems", "canonical", "score", "guards", "labels")}
    )


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak memory of the stage at each count of records."""
    runs = []
    for count in options.records:
        place = folder / str(count)
        place.mkdir()
        work = Work(str(place), count, options.concurrency, options.client)
        command = [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(asdict(work))]
        seconds, cpu, peak = usage_of(command, place / "stage.out")
        with (place / "records.jsonl").open("rb") as lines:
            written = sum(1 for _ in lines)
        runs.append({"records": written, "seconds": seconds, "cpu_seconds": cpu, "peak_rss_mb": peak})
        print(f"{written} records: {peak:.0f} MB, {seconds:.0f} s", file=sys.stderr, flush=True)
        shutil.rmtree(place)
    first, last = runs[0], runs[-1]
    ratio = last["peak_rss_mb"] / first["peak_rss_mb"]
    grown = (last["peak_rss_mb"] - first["peak_rss_mb"]) * 1024**2 / max(1, last["records"] - first["records"])
    missed = [f"peak memory grows {ratio:.2f} times"] if ratio > TARGET_RATIO else []
    wrong = [(run["records"], count) for run, count in zip(runs, options.records, strict=True)]
    missed += [f"{written} of {count} records" for written, count in wrong if written != count]
    return {"teacher": "scripted, in process", "runs": runs, "bytes_a_record": grown, "ratio": ratio, "missed": missed}


def show(report: Mapping[str, Any]) -> None:
    """The table."""
    for run in report["runs"]:
        print(f"{run['records']:>8} records  {run['peak_rss_mb']:7.1f} MB peak  {run['cpu_seconds']:8.1f} CPU s")
    print(
        f"{report['bytes_a_record']:.0f} bytes a record; ratio {report['ratio']:.3f} (target: at most {TARGET_RATIO})"
    )
    for miss in report["missed"]:
        print(f"MISSED {miss}")


def main() -> int:
    """0, or 1 where a target is missed."""
    if sys.argv[1:2] == ["--child"]:
        run_stage(Work(**json.loads(sys.argv[2])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 100_000], metavar="N")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--client", action="store_true", help="load the Vertex client, as real runs do")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the same figures")
    return carry_out(parser.parse_args(), measure, show)


if __name__ == "__main__":
    sys.exit(main())
