"""Records a second of the teacher stage, of the original way and of bespokelabs-curator, against one Vertex emulator.

    python benchmarks/teacher_throughput.py [--records 2000] [--latency 1s] [--concurrency 64] [--quota N]

Each contender is a process of its own, one after the other, against the same server, with the same prompts; the stage
is `stillhouse generate`, unchanged. Seconds are the server's: from a contender's second call (a library may send one
ahead to learn limits) to the last answer; start-up is before that. The server's quota allows a burst, so a short run
may pass its bound. Exit code 1: a target is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import carry_out, emulator, usage_of
from teacher_contenders import Work, child_command, our_command, run_original, run_peer, write_prompts

OURS, ORIGINAL, PEER = "stillhouse generate", "original way", "bespokelabs-curator==0.1.31"
ORIGINAL_PAUSE = 0.1
"""Of the latency: the original waited 1 s after each call of about 10 s."""
TARGET_SHARE = 0.95
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Measured:
    """One contender. CPU and peak memory are of its process and all that it started; memory of the largest."""

    contender: str
    records: int
    calls: int
    timed_calls: int
    seconds: float
    startup_seconds: float
    process_seconds: float
    cpu_seconds: float
    peak_rss_mb: float

    @property
    def rate(self) -> float:
        """Records a second: every call is one, since the emulator makes no faults."""
        return self.timed_calls / self.seconds if self.seconds else 0.0


class Watch(threading.Thread):
    """Asks the server what it has counted, 20 times a second."""

    def __init__(self, stats_url: str) -> None:
        """`stats_url` answers with the bill as JSON."""
        super().__init__(daemon=True)
        self._url = stats_url
        self._stopping = threading.Event()
        self._before = self._stats()
        self.begun, self.ended = 0.0, 0.0
        self._billed_at_begin = self._billed = self._before["billed_calls"]

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._stopping.wait(_POLL_SECONDS):
            self._look()

    def stop(self) -> None:
        """Looks for the last time."""
        self._stopping.set()
        self.join()
        self._look()

    @property
    def calls(self) -> int:
        """Billed to this contender."""
        return int(self._billed - self._before["billed_calls"])

    @property
    def timed_calls(self) -> int:
        """Billed between `begun` and `ended`."""
        return int(self._billed - self._billed_at_begin)

    def _look(self) -> None:
        seen, now = self._stats(), time.monotonic()
        if not self.begun and seen["requests"] >= self._before["requests"] + 2:
            self.begun, self._billed_at_begin = now, seen["billed_calls"]
        if seen["billed_calls"] > self._billed:
            self.ended, self._billed = now, seen["billed_calls"]

    def _stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self._url, timeout=30) as response:
            return dict(json.load(response))


def measure(contender: str, command: Sequence[str], work: Work, stats_url: str) -> Measured:
    """One contender against the server, as the server and the operating system saw it."""
    watch = Watch(stats_url)
    watch.start()
    began = time.monotonic()
    try:
        seconds, cpu, peak = usage_of(command, Path(work.output).with_suffix(".out"))
    finally:
        watch.stop()
    with Path(work.output).open("rb") as lines:
        records = sum(1 for _ in lines)
    span = watch.ended - watch.begun
    return Measured(contender, records, watch.calls, watch.timed_calls, span, watch.begun - began, seconds, cpu, peak)


def peer_python(venv: Path) -> str:
    """The interpreter that has the library, installed now if need be. Raises RuntimeError with the reason."""
    python, done = venv / "bin" / "python", venv / f"{PEER}.installed"
    if done.exists():
        return str(python)
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("there is no uv to install it with: pip install uv")
    for arguments in (["venv", "--allow-existing", "--python", sys.executable, str(venv)], ["pip", "install", PEER]):
        place = ["--python", str(python)] if arguments[0] == "pip" else []
        ended = subprocess.run([uv, *arguments, *place], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"it can't be installed: {ended.stderr.strip()[-500:]}")
    done.touch()
    return str(python)


def throughput(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All contenders, and what there was to reach."""
    from stillhouse.vertex_emulator.answers import LATENCY_SIGMA
    from stillhouse.vertex_emulator.config import duration_seconds

    median = duration_seconds(options.latency)
    # Answers take log-normal times about the median, so calls in flight are answered at the pace of the mean.
    mean = median * math.exp(LATENCY_SIGMA**2 / 2)
    bounds = [options.concurrency / mean if mean else math.inf, options.quota / 60 or math.inf]
    if math.isinf(min(bounds)):
        raise SystemExit("there is no bound to reach: give --latency above 0, or --quota")
    base = Work(str(folder), "", options.records, options.concurrency, options.quota, ORIGINAL_PAUSE * median)
    usage_of(child_command(write_prompts, base), folder / "prompts.out")
    found: list[Measured] = []
    skipped: dict[str, str] = {}
    flags = ["--latency", f"{median:f}s", *(["--requests-per-minute", str(options.quota)] if options.quota else [])]
    with emulator(*flags) as (url, openai_url):

        def run(name: str, records: int, command: Callable[[Work], list[str]]) -> None:
            output = str(folder / f"{len(found)}.jsonl")
            work = Work(**{**asdict(base), "output": output, "records": records, "url": url, "openai_url": openai_url})
            found.append(measure(name, command(work), work, openai_url.removesuffix("/v1") + "/stats"))
            print(f"{name}: {found[-1].rate:.2f} records/s", file=sys.stderr, flush=True)

        run(OURS, options.records, our_command)
        try:
            python = peer_python(options.peer_venv.expanduser().resolve())
            run(PEER, options.records, lambda work: child_command(run_peer, work, python=python))
        except RuntimeError as exc:
            skipped[PEER] = str(exc)
        few = min(options.original_records or options.records, options.records)
        run(ORIGINAL, few, lambda work: child_command(run_original, work))
    return throughput_report(found, skipped, min(bounds), mean)


def throughput_report(
    found: Sequence[Measured], skipped: Mapping[str, str], bound: float, mean: float
) -> dict[str, Any]:
    """The figures as JSON, with the targets that were missed."""
    ours = found[0]
    contenders = [
        {
            **asdict(each),
            "records_per_second": each.rate,
            "share_of_bound": each.rate / bound,
            "ratio": ours.rate / each.rate,
        }
        for each in found
    ]
    missed = [f"{OURS}: {ours.rate / bound:.1%} of the bound"] if ours.rate < TARGET_SHARE * bound else []
    missed += [f"{PEER} is faster" for each in found if each.contender == PEER and each.rate > ours.rate]
    missed += [f"{each.contender}: {each.records} records of {each.calls} calls" for each in found if not each.records]
    missed += [f"{OURS}: {ours.calls} calls for {ours.records} records"] if ours.calls != ours.records else []
    return {
        "mean_latency_seconds": mean,
        "bound_records_per_second": bound,
        "contenders": contenders,
        "skipped": dict(skipped),
        "missed": missed,
    }


def show(report: Mapping[str, Any]) -> None:
    """The table."""
    print(f"{'':28} records records/s of bound ours/it   CPU s     MB start s")
    for row in report["contenders"]:
        print(
            f"{row['contender']:28} {row['records']:7} {row['records_per_second']:9.2f} "
            f"{row['share_of_bound']:8.1%} {row['ratio']:7.2f} {row['cpu_seconds']:7.1f} "
            f"{row['peak_rss_mb']:6.0f} {row['startup_seconds']:7.1f}"
        )
    print(
        f"bound {report['bound_records_per_second']:.2f} records/s: min(concurrency / mean latency of "
        f"{report['mean_latency_seconds']:.3f} s, quota); target: at least {TARGET_SHARE:.0%}"
    )
    for name, reason in report["skipped"].items():
        print(f"skipped {name}: {reason}")
    for miss in report["missed"]:
        print(f"MISSED {miss}")


def main() -> int:
    """0, or 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--latency", default="1s", help="median of an answer (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--quota", type=int, default=0, metavar="N", help="calls a minute; 0, the default: no limit")
    parser.add_argument(
        "--original-records",
        type=int,
        default=60,
        metavar="N",
        help="records of the original way, whose pace is even; 0: all",
    )
    parser.add_argument(
        "--peer-venv", type=Path, default=Path("~/.cache/stillhouse/benchmark-peer"), help="made here if need be"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the same figures")
    options = parser.parse_args()
    if min(options.records, options.original_records or 2) < 2:
        parser.error("a pace takes at least 2 records")
    return carry_out(options, throughput, show)


if __name__ == "__main__":
    sys.exit(main())
