"""400 accepted records against a teacher as slow and as careless as the recorded pipeline's: this stage, the old way.

Run as `python benchmarks/teacher_400.py [--output FILE.json]`. The teacher is the Vertex emulator with the recorded
failure rates; its 10 s an answer, and the old way's pause of 1 s between calls, are divided by --scale.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

from stillhouse.artifacts.answers import AnswerLog, LoggedAnswer
from stillhouse.artifacts.store import Store
from stillhouse.dataset.concepts import concept_line
from stillhouse.roles.role import Role, load_role
from stillhouse.rpc.logs import configure_logging
from stillhouse.teacher_generator.data_file import DataFiles, FileGeneration
from stillhouse.teachers.dialogue import Concept, Dialogue, manner_of
from stillhouse.teachers.judging import Judge
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import Question
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, TeacherStage
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel

LATENCY_SECONDS = 10.0
PAUSE_SECONDS = 1.0
MIN_SCORE = 0.80
SEED = 42


@dataclass(frozen=True)
class Measured:
    """What was measured; `seconds` as they passed, at the scaled latency."""

    records: int
    seconds: float
    calls: int
    concepts: int
    cost_usd: float

    @property
    def calls_per_record(self) -> float:
        """Calls for one accepted record."""
        return self.calls / self.records

    @property
    def cost_per_record_usd(self) -> float:
        """At the list price of the model's tokens."""
        return self.cost_usd / self.records


@contextmanager
def emulator(latency_seconds: float) -> Iterator[str]:
    """The address of a Vertex emulator in a process of its own."""
    command = [sys.executable, "-m", "stillhouse.vertex_emulator", "--faults", "recorded"]
    process = subprocess.Popen(
        [*command, "--latency", f"{latency_seconds:g}s"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def teacher_at(url: str, model: str, concurrency: int) -> TeacherModel:
    """The model as both ways ask it."""
    return TeacherModel(
        provider="vertex",
        model=model,
        prompt=TEACHER_PROMPT_FENCED,
        temperature=0.7,
        max_output_tokens=8192,
        endpoint=url,
        concurrency=concurrency,
    )


def this_stage(teacher: TeacherModel, role: Role, concepts: Path, folder: Path, records: int) -> Measured:
    """`stillhouse generate` without the command line: paced, logged, retried."""
    request = GenerateRecordsRequest(
        role=RoleReference(name=role.name, version=role.version),
        stages=[TeacherStage(name=teacher.model, teacher=teacher, min_score=MIN_SCORE, until=records, attempts=2)],
        guards=role.guard_names,
        seed=SEED,
    )
    log = AnswerLog(Store.open(str(folder / "store")))
    files = DataFiles(folder / "data.jsonl")
    work = FileGeneration(log, os.environ, lambda _: None, Event())
    started = time.monotonic()
    outcome = work.generate(request, concepts, files, resume=False, overwrite=False)
    seconds = time.monotonic() - started
    # All that was paid, surplus included, and not only what settled concepts took.
    paid = [json.loads(path.read_bytes())["answer"] for path in (folder / "store").glob("answers/*/*.json")]
    cost = sum(answer["cost_usd"] for answer in paid)
    return Measured(outcome.ledger.records, seconds, len(paid), outcome.tally.attempted, cost)


async def old_way(teacher: TeacherModel, role: Role, records: int, pause_seconds: float) -> Measured:
    """One call at a time with a pause after each, one repair, and on to the next concept."""
    manner = manner_of(teacher, attempts=1, place="benchmark")
    client = await open_teacher(teacher, os.environ)
    calls = 0

    async def ask(question: Question) -> LoggedAnswer:
        nonlocal calls
        calls += 1
        answer = await client.ask(question, deadline_seconds=300.0)
        await asyncio.sleep(pause_seconds)
        return LoggedAnswer(answer.text, str(answer.finish_reason), answer.prompt_tokens, answer.completion_tokens, 0.0)

    dialogue = Dialogue(role, Judge(role, role.guard_names, MIN_SCORE), manner, ask, seed=SEED)
    accepted = concepts = 0
    started = time.monotonic()
    try:
        for example in role.examples(count=100 * records, seed=SEED, planted=0.3):
            concepts += 1
            outcome = await dialogue.pursue(Concept(concepts, example.inputs))
            accepted += outcome.accepted is not None
            if accepted == records:
                break
    finally:
        await client.close()
    return Measured(accepted, time.monotonic() - started, calls, concepts, 0.0)


async def warm_up(teacher: TeacherModel) -> None:
    """Opens the teacher once."""
    client = await open_teacher(teacher, os.environ)
    await client.close()


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Both ways against the same server; figures at the scaled latency and, multiplied, at the recorded one."""
    role = load_role("product_owner")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        configure_logging("teacher_400", stack.enter_context((folder / "events.log").open("w", encoding="utf-8")))
        url = stack.enter_context(emulator(LATENCY_SECONDS / arguments.scale))
        concepts = folder / "concepts.jsonl"
        examples = role.examples(count=4 * arguments.records, seed=SEED, planted=0.3)
        concepts.write_text("".join(concept_line(example) for example in examples), encoding="utf-8")
        teacher = teacher_at(url, arguments.model, arguments.concurrency)
        # Imports and the first connection take seconds, which would count a hundredfold.
        asyncio.run(warm_up(teacher))
        ours = this_stage(teacher, role, concepts, folder, arguments.records)
        alone = teacher_at(url, arguments.model, 1)
        theirs = asyncio.run(old_way(alone, role, arguments.sample, PAUSE_SECONDS / arguments.scale))
    old_seconds = theirs.seconds * arguments.records / theirs.records
    least = ours.calls * LATENCY_SECONDS / arguments.scale / arguments.concurrency
    return {
        "model": arguments.model,
        "scale": arguments.scale,
        "concurrency": arguments.concurrency,
        "this_stage": {**asdict(ours), "calls_per_record": ours.calls_per_record}
        | {"cost_per_record_usd": ours.cost_per_record_usd, "seconds_unscaled": ours.seconds * arguments.scale}
        | {"seconds_at_full_concurrency": least},
        "old_way": {**asdict(theirs), "calls_per_record": theirs.calls_per_record}
        | {"extrapolated_records": arguments.records, "extrapolated_seconds": old_seconds}
        | {"extrapolated_seconds_unscaled": old_seconds * arguments.scale},
        "speedup": old_seconds / ours.seconds,
    }


def main() -> int:
    """Measures and prints; the exit code is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--sample", type=int, default=40, help="records that the old way is measured on")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--scale", type=float, default=100.0, help="what all waiting is divided by")
    parser.add_argument("--model", default="gemini-2.5-flash")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print_figures(found, arguments)
    return 0


def print_figures(found: dict[str, object], arguments: argparse.Namespace) -> None:
    """For a person."""
    ours, theirs = found["this_stage"], found["old_way"]
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    many, hours = arguments.concurrency, theirs["extrapolated_seconds_unscaled"] / 3600
    rows = [
        f"{ours['records']} accepted records of {arguments.model}, {LATENCY_SECONDS:g} s an answer, all waiting "
        f"divided by {arguments.scale:g}, {many} calls at a time",
        f"  this stage  {ours['seconds']:7.1f} s, unscaled at most {ours['seconds_unscaled'] / 60:.0f} min (the least, "
        f"with {many} calls in flight throughout: {ours['seconds_at_full_concurrency']:.1f} s)",
        f"              {ours['calls_per_record']:7.2f} calls and ${ours['cost_per_record_usd']:.5f} a record",
        f"  old way     {theirs['extrapolated_seconds']:7.1f} s, unscaled {hours:.1f}"
        f" h: extrapolated from {theirs['records']} records",
        f"              {theirs['calls_per_record']:7.2f} calls a record",
        f"  this stage is {found['speedup']:.1f} times as fast",
    ]
    print("\n".join(rows))


if __name__ == "__main__":
    raise SystemExit(main())
