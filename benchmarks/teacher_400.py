"""400 accepted records against a teacher as slow and as careless as the recorded pipeline's: this stage, the old way.

Run as `python benchmarks/teacher_400.py [--output FILE.json]`. The teacher is the Vertex emulator with the recorded
failure rates; its 10 s an answer, and the old way's pause of 1 s between calls, are divided by --scale.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

from measuring import MODEL, ROLE, SEED, emulator, save
from teacher_work import OriginalWay, opened, stage_request, teacher_model

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.dataset.concepts import concept_line
from stillhouse.roles.role import Role, load_role
from stillhouse.rpc.logs import configure_logging
from stillhouse.teacher_generator.data_file import FileGeneration
from stillhouse.teacher_generator.data_files import DataFiles
from stillhouse.v1.teacher_pb2 import TeacherModel

LATENCY_SECONDS = 10.0
PAUSE_SECONDS = 1.0


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


def this_stage(teacher: TeacherModel, role: Role, concepts: Path, folder: Path, records: int) -> Measured:
    """`stillhouse generate` without the command line: paced, logged, retried."""
    log = AnswerLog(Store.open(str(folder / "store")))
    files = DataFiles(folder / "data.jsonl")
    work = FileGeneration(log, os.environ, lambda _: None, Event())
    started = time.monotonic()
    outcome = work.generate(stage_request(role, teacher, records), concepts, files, resume=False, overwrite=False)
    seconds = time.monotonic() - started
    # All that was paid, surplus included, and not only what settled concepts took.
    paid = [json.loads(path.read_bytes())["answer"] for path in (folder / "store").glob("answers/*/*.json")]
    cost = sum(answer["cost_usd"] for answer in paid)
    return Measured(outcome.ledger.records, seconds, len(paid), outcome.tally.attempted, cost)


async def old_way(teacher: TeacherModel, role: Role, records: int, pause_seconds: float) -> Measured:
    """Until there are that many records."""
    examples = role.examples(count=100 * records, seed=SEED, planted=0.3)
    accepted = concepts = 0
    async with opened(teacher) as client:
        way = OriginalWay(role, teacher, client, pause_seconds)
        started = time.monotonic()
        async for outcome in way.pursue(example.inputs for example in examples):
            concepts += 1
            accepted += outcome.accepted is not None
            if accepted == records:
                break
        return Measured(accepted, time.monotonic() - started, way.calls, concepts, 0.0)


async def warm_up(teacher: TeacherModel) -> None:
    """Opens the teacher once."""
    async with opened(teacher):
        pass


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Both ways against the same server; figures at the scaled latency and, multiplied, at the recorded one."""
    role = load_role(ROLE)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        configure_logging("teacher_400", stack.enter_context((folder / "events.log").open("w", encoding="utf-8")))
        latency = f"{LATENCY_SECONDS / arguments.scale:g}s"
        url, _ = stack.enter_context(emulator("--faults", "recorded", "--latency", latency))
        concepts = folder / "concepts.jsonl"
        examples = role.examples(count=4 * arguments.records, seed=SEED, planted=0.3)
        concepts.write_text("".join(concept_line(example) for example in examples), encoding="utf-8")
        teacher = teacher_model(url, model=arguments.model, concurrency=arguments.concurrency)
        # Imports and the first connection take seconds, which would count a hundredfold.
        asyncio.run(warm_up(teacher))
        ours = this_stage(teacher, role, concepts, folder, arguments.records)
        alone = teacher_model(url, model=arguments.model, concurrency=1)
        theirs = asyncio.run(old_way(alone, role, arguments.sample, PAUSE_SECONDS / arguments.scale))
    old_seconds = theirs.seconds * arguments.records / theirs.records
    least = ours.calls * LATENCY_SECONDS / arguments.scale / arguments.concurrency
    return {
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
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    found = measure(arguments)
    save(found, arguments)
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
