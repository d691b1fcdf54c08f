"""One MIPROv2 run four times: with a student, by plain DSPy, with the local model it replaces, with a parallel teacher.

    python benchmarks/optimization_speed.py --model student.gguf [--rows 12] [--order plain student local parallel]
    python benchmarks/optimization_speed.py --model student.gguf --grammar role --order student local parallel

Same rows, options and seed in every arm. The student's rows are held to the role's grammar where --grammar says so;
plain DSPy has none to give (it is made from a row's inputs), and is compared without. Each arm is a process of its own,
one after the other, and its clock runs from the first question to the program. The two arms with a student get a server
just started, and one throw-away answer goes before the clock.

student: `optimize()` of the optimizer's stage over gRPC, with a fresh store: baseline, MIPROv2, best program, and the
replay.
plain: dspy.MIPROv2 with DSPy's own client (litellm, at the server's OpenAI-compatible listener) and its own cache on a
fresh disk. It has the same metric, the same adapter for proposals (DSPy's own asks a small model twice) and as many
errors allowed; it has no baseline, no replay and no answer log, and it makes its demos for one row after the other.
local: `optimize()` with granite4 as the pipeline that this project replaces recorded it, served one call at a time, 90
to 110 s an example: the role's scripted author answers after a uniform wait under a lock. Proposals wait as long.
parallel: the same without the lock, --teacher-concurrency rows at a time: stands beside, has no target.

The last two have a clock scaled by --scale. Their own work is not scaled: seconds = (elapsed - elapsed of the same run
without waits) * scale + elapsed without waits. Other answers make other demos and trials, so arms may make different
numbers of calls: ratios are of the whole run and of a call. An arm named twice in --order counts with its mean. Exit
code 1: a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optimization_arms
from measuring import ROLE, SEED, carry_out, usage_of
from optimization_arms import (
    ARMS,
    LOCAL,
    LOCAL_SECONDS,
    MEASURED,
    PARALLEL,
    PATIENCE_SECONDS,
    PLAIN,
    STUDENT,
    Work,
)
from optimization_calls import Measured

TARGETS = {LOCAL: 10.0, PLAIN: 1.0}
"""Least seconds of that arm over the student's."""


@contextmanager
def student(options: argparse.Namespace, *, http: bool) -> Iterator[tuple[str, str]]:
    """The gRPC address and the HTTP port of a student that is started for this arm; its key is in the environment.

    Only plain DSPy needs the port: a server that offers it lets no prompts share what they begin with.
    """
    from stillhouse.cli.models import ModelFile, ServerOptions, local_server
    from stillhouse.client.student import StudentClient
    from stillhouse.client.waiting import wait_until_ready
    from stillhouse.rpc.subprocesses import free_port

    os.environ.pop("STILLHOUSE_HTTP_PORT", None)
    port = ""
    if http:
        os.environ["STILLHOUSE_HTTP_PORT"] = port = str(free_port())
        os.environ["STILLHOUSE_HTTP_KEY"] = secrets.token_urlsafe(16)
    server = ServerOptions(parallel=options.slots, context_tokens=options.context)
    with local_server(ModelFile(options.model), server) as (address, check):
        with StudentClient(address) as client:
            wait_until_ready(client, wait_seconds=PATIENCE_SECONDS, check=check)
        yield address, port


def measure_apart(work: Work, name: str) -> Measured:
    """One run in a process and folder of its own. Raises RuntimeError with its last words."""
    folder = Path(work.folder) / name
    folder.mkdir()
    own = replace(work, folder=str(folder))
    usage_of([sys.executable, optimization_arms.__file__, json.dumps(asdict(own))], folder / "log")
    measured = Measured(**json.loads((folder / MEASURED).read_bytes()))
    print(f"{name}: {measured.calls} calls, {measured.seconds:.1f} s", file=sys.stderr, flush=True)
    return measured


def write_rows(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Training and validation rows: the user's files, or synthesized ones without answers."""
    if options.train:
        return options.train, options.validation
    from stillhouse.dataset.concepts import concept_line
    from stillhouse.roles.role import load_role

    lines = [concept_line(example) for example in load_role(ROLE).examples(count=2 * options.rows, seed=SEED)]
    paths = folder / "train.jsonl", folder / "validation.jsonl"
    for path, part in zip(paths, (lines[: options.rows], lines[options.rows :]), strict=True):
        path.write_text("".join(part), encoding="utf-8")
    return paths


def speed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every arm in the order asked for, and the ratios."""
    train, validation = write_rows(options, folder)
    work = Work(
        arm="",
        folder=str(folder),
        train=str(train),
        validation=str(validation),
        candidates=options.candidates,
        trials=options.trials,
        demos=options.demos,
        max_tokens=options.max_tokens,
        threads=options.concurrency,
        grammar=options.grammar == "role",
    )
    runs = []
    for number, arm in enumerate(options.order):
        name, own = f"{number}-{arm}", replace(work, arm=arm)
        if arm in (STUDENT, PLAIN):
            with student(options, http=arm == PLAIN) as (address, port):
                measured = measure_apart(replace(own, address=address, http_port=port), name)
            runs.append(run_figures(arm, measured))
        else:
            own = replace(own, threads=options.teacher_concurrency if arm == PARALLEL else options.concurrency)
            without = measure_apart(own, f"{name}-without-waits")
            measured = measure_apart(replace(own, scale=options.scale), name)
            runs.append(run_figures(arm, measured, without, options.scale))
    return speed_report(runs)


def run_figures(arm: str, measured: Measured, without: Measured | None = None, scale: float = 1.0) -> dict[str, Any]:
    """One run with its seconds on an unscaled clock. Raises RuntimeError where the run without waits was another."""
    seconds = measured.seconds
    if without is not None:
        if without.calls != measured.calls:
            raise RuntimeError(f"{arm}: {measured.calls} calls, without waits {without.calls}: they can't be compared")
        seconds = (measured.seconds - without.seconds) * scale + without.seconds
    return {
        "arm": arm,
        **asdict(measured),
        "seconds": seconds,
        "elapsed_seconds": measured.seconds,
        "elapsed_seconds_without_waits": without.seconds if without is not None else None,
        "scale": scale,
    }


def speed_report(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures as JSON: every run, means and ratios by arm, the targets that were missed."""
    arms: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        own = [run for run in runs if run["arm"] == arm]
        seconds, calls = fmean(run["seconds"] for run in own), fmean(run["calls"] for run in own)
        arms[arm] = {"runs": len(own), "calls": calls, "seconds": seconds, "seconds_a_call": seconds / calls}
    missed = []
    if ours := arms.get(STUDENT):
        for figures in arms.values():
            figures["ratio"] = figures["seconds"] / ours["seconds"]
            figures["ratio_a_call"] = figures["seconds_a_call"] / ours["seconds_a_call"]
        missed = [
            f"{arm}: {arms[arm]['ratio']:.2f} times the student's seconds, target: at least {least:g}"
            for arm, least in TARGETS.items()
            if arm in arms and arms[arm]["ratio"] < least
        ]
    return {"runs": list(runs), "arms": arms, "targets": TARGETS, "local_seconds": LOCAL_SECONDS, "missed": missed}


def show(report: Mapping[str, Any]) -> None:
    """Every run, then the ratios."""
    print(f"{'':9} calls of them proposals   seconds s/call  CPU s tokens in  cached    out readable score")
    for run in report["runs"]:
        print(
            f"{run['arm']:9} {run['calls']:5} {run['proposals']:17} {run['seconds']:9.1f} "
            f"{run['seconds'] / run['calls']:6.2f} {run['cpu_seconds']:6.1f} {run['prompt_tokens']:9} "
            f"{run['cached_tokens']:7} {run['completion_tokens']:6} {run['readable']:8.0%} {run['score']:5.3f}"
        )
    for run in report["runs"]:
        if run["elapsed_seconds_without_waits"] is not None:
            print(
                f"{run['arm']}: clock scaled by {run['scale']:g}: {run['elapsed_seconds']:.1f} s elapsed, of them "
                f"{run['elapsed_seconds_without_waits']:.1f} s its own work (measured without waits, not scaled)"
            )
    for arm, figures in report["arms"].items():
        if arm == STUDENT or "ratio" not in figures:
            continue
        least = report["targets"].get(arm)
        said = f"target: at least {least:g}" if least else "no target"
        print(f"{arm} / student: {figures['ratio']:.2f} (a call {figures['ratio_a_call']:.2f}); {said}")
    print(f"local, parallel: {LOCAL_SECONDS[0]:g} to {LOCAL_SECONDS[1]:g} s a call, as recorded; no model runs there")
    for miss in report["missed"]:
        print(f"MISSED {miss}")


def main() -> int:
    """0, or 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="FILE.gguf", help="a student that is started for each arm")
    parser.add_argument("--slots", type=int, default=2, help="of a started student (default %(default)s)")
    parser.add_argument("--context", type=int, default=8192, help="tokens a slot (default %(default)s)")
    parser.add_argument("--train", type=Path, metavar="FILE.jsonl", help="default: synthesized rows without answers")
    parser.add_argument("--validation", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--rows", type=int, default=12, help="of each synthesized file (default %(default)s)")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--demos", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=1024, help="of an answer (default %(default)s)")
    parser.add_argument(
        "--grammar", choices=["none", "role"], default="none", help="of `student` (default %(default)s)"
    )
    parser.add_argument("--concurrency", type=int, default=2, help="rows at a time (default %(default)s)")
    parser.add_argument("--teacher-concurrency", type=int, default=16, help="of `parallel` (default %(default)s)")
    parser.add_argument("--scale", type=float, default=100.0, help="of the recorded seconds (default %(default)s)")
    parser.add_argument("--order", nargs="+", choices=ARMS, default=list(ARMS), help="arms; one may come twice")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the same figures")
    options = parser.parse_args()
    if options.model is None and {STUDENT, PLAIN} & set(options.order):
        parser.error("name a student: --model FILE.gguf")
    if bool(options.train) != bool(options.validation):
        parser.error("--train and --validation go together")
    if options.grammar == "role" and PLAIN in options.order:
        parser.error("plain DSPy cannot hold rows to a grammar: --order student local parallel")
    return carry_out(options, speed, show)


if __name__ == "__main__":
    sys.exit(main())
