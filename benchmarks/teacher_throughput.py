"""Records a second of the teacher stage, of the original way and of bespokelabs-curator, against one Vertex emulator.

    python benchmarks/teacher_throughput.py [--records 2000] [--latency 1s] [--concurrency 64] [--quota N]
    python benchmarks/teacher_throughput.py --memory [--memory-records 1000 100000]

Each contender is a process of its own, one after the other, against the same server, with the same prompts; the stage
is `stillhouse generate`, unchanged. Seconds are the server's: from a contender's second call (a library may send one
ahead to learn limits) to the last answer; start-up is before that. The server's quota allows a burst, so a short run
may pass its bound. --memory has the stage in a process with a scripted teacher whose 100 answers are judged once, since
100,000 records through the emulator take about 8 ms of CPU time each. Exit code 1: a target is missed. The library's
interpreter runs this file too, so the top imports the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from stillhouse.roles.role import Role
    from stillhouse.teacher_generator.asking import StageAsker
    from stillhouse.teacher_generator.options import StageOptions
    from stillhouse.teachers.dialogue import Concept
    from stillhouse.teachers.teacher import Answer, Question
    from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest

ROLE, MODEL, SEED = "product_owner", "gemini-2.5-flash", 42
OURS, ORIGINAL, PEER = "stillhouse generate", "original way", "bespokelabs-curator==0.1.31"
TEMPERATURE, MAX_OUTPUT_TOKENS = 0.7, 8192
ORIGINAL_PAUSE = 0.1
"""Of the latency: the original waited 1 s after each call of about 10 s."""
TARGET_SHARE, TARGET_MEMORY = 0.95, 1.2
_POLL_SECONDS = 0.05
_POOL = 100
_NO_LIMIT = 10**9
_MARK = re.compile(r"\(no\. (\d+)\)")


@dataclass(frozen=True)
class Work:
    """What a contender's process is told. `folder` has concepts.jsonl and prompts.jsonl; records go to `output`."""

    folder: str
    output: str
    records: int
    concurrency: int
    quota: int = 0
    """Calls a minute; 0: no limit."""
    pause_seconds: float = 0.0
    url: str = ""
    openai_url: str = ""
    with_client: bool = False
    """The memory of the Vertex client is there too, as in a run that asks Vertex."""


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


def run_original(work: Work) -> None:
    """One call at a time and a pause, with the production client; every answer is read, judged and written."""
    from stillhouse.artifacts.answers import LoggedAnswer
    from stillhouse.roles.role import load_role
    from stillhouse.teachers.judging import Judge
    from stillhouse.teachers.teacher import Question
    from stillhouse.teachers.vertex import open_vertex
    from stillhouse.v1.teacher_pb2 import TeacherModel

    role = load_role(ROLE)
    judge = Judge(role, role.guard_names, 0.8)

    async def ask_all() -> None:
        teacher = await open_vertex(TeacherModel(provider="vertex", model=MODEL, endpoint=work.url), {})
        with Path(work.output).open("w", encoding="utf-8") as stream:
            for row in _rows(Path(work.folder) / "concepts.jsonl", work.records):
                messages = tuple(role.teacher_messages(row, structured=False))
                question = Question(messages, MAX_OUTPUT_TOKENS, TEMPERATURE, SEED)
                answer = await teacher.ask(question, deadline_seconds=300)
                logged = LoggedAnswer(answer.text, answer.finish_reason, 0, 0, 0.0)
                judgement = judge.judge(row, judge.read(logged, structured=False))
                if judgement.is_accepted:
                    stream.write(json.dumps({**row, **judgement.outputs, "score": judgement.score}) + "\n")
                await asyncio.sleep(work.pause_seconds)
        await teacher.close()

    asyncio.run(ask_all())


def run_peer(work: Work) -> None:
    """The library as its documentation uses it, with its own concurrency; its openai backend needs a download."""
    folder = Path(work.output).parent
    os.environ.update(TELEMETRY_ENABLED="0", CURATOR_DISABLE_RICH_DISPLAY="1", CURATOR_CACHE_DIR=str(folder / "peer"))
    os.environ.update(OPENAI_API_KEY="none", HF_HUB_OFFLINE="1", LITELLM_LOCAL_MODEL_COST_MAP="True")
    curator: Any = importlib.import_module("bespokelabs.curator")

    class Writer(curator.LLM):  # type: ignore[misc]
        def prompt(self, row: Mapping[str, Any]) -> Any:
            return row["messages"]

        def parse(self, row: Mapping[str, Any], response: str) -> list[dict[str, str]]:  # noqa: ARG002 - its signature
            return [{"response": response}]

    writer = Writer(
        model_name=f"openai/{MODEL}",
        backend="litellm",
        backend_params={
            "base_url": work.openai_url,
            "max_concurrent_requests": work.concurrency,
            "max_requests_per_minute": work.quota or _NO_LIMIT,
            "max_tokens_per_minute": _NO_LIMIT,
        },
        generation_params={"temperature": TEMPERATURE, "max_tokens": MAX_OUTPUT_TOKENS, "seed": SEED},
    )
    rows = writer(list(_rows(Path(work.folder) / "prompts.jsonl", work.records))).dataset
    with Path(work.output).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(dict(row)) + "\n" for row in rows)


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


def run_memory(work: Work) -> None:
    """Generation, answer log and paid teacher as `stillhouse generate` joins them, with a teacher that recites."""
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
        paths = (Path(work.output), *(Path(work.folder, name) for name in ("calls.jsonl", "dead-letters.jsonl")))
        ledger = Ledger(role, LedgerFiles(*(stack.enter_context(path.open("w", encoding="utf-8")) for path in paths)))
        reporter = Reporter(ledger, lambda _: None)
        sources = Sources(lambda: reciter.concepts(work.records), lambda _: (), open_asker)
        options = options_of(memory_request(role, work.records), role)
        asyncio.run(Generation(role, options, sources, ledger, on_progress=reporter.settled).run())


def memory_request(role: Role, records: int) -> GenerateRecordsRequest:
    """One stage with the defaults of `stillhouse generate`."""
    from stillhouse.v1.common_pb2 import RoleReference
    from stillhouse.v1.teacher_generator_pb2 import WHEN_EXHAUSTED_STOP, GenerateRecordsRequest, TeacherStage
    from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel

    model = TeacherModel(prompt=TEACHER_PROMPT_FENCED, temperature=TEMPERATURE, max_output_tokens=MAX_OUTPUT_TOKENS)
    return GenerateRecordsRequest(
        role=RoleReference(name=role.name, version=role.version),
        stages=[TeacherStage(name="memory", teacher=model, min_score=0.8, until=records, attempts=2)],
        guards=role.guard_names,
        when_exhausted=WHEN_EXHAUSTED_STOP,
        seed=SEED,
    )


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


def write_prompts(work: Work) -> None:
    """The concepts, and the prompts that `stillhouse generate` makes of them."""
    from stillhouse.dataset.concepts import concept_line
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    folder = Path(work.folder)
    with (folder / "concepts.jsonl").open("w") as concepts, (folder / "prompts.jsonl").open("w") as prompts:
        for example in role.examples(count=work.records, seed=SEED, planted=0.0):
            concepts.write(concept_line(example))
            messages = role.teacher_messages(example.inputs, structured=False)
            prompts.write(json.dumps({"messages": [asdict(message) for message in messages]}) + "\n")


CHILDREN: Mapping[str, Callable[[Work], None]] = {
    function.__name__: function for function in (run_original, run_peer, run_memory, write_prompts)
}


def child_command(function: Callable[[Work], None], work: Work, *, python: str = sys.executable) -> list[str]:
    """This file, as the process of one contender."""
    return [python, str(Path(__file__).resolve()), "--child", function.__name__, json.dumps(asdict(work))]


def our_command(work: Work) -> list[str]:
    """`stillhouse generate` as anyone calls it."""
    command = [sys.executable, "-m", "stillhouse.cli", "generate", "--role", ROLE, "--provider", "vertex", "--json"]
    command += ["--model", MODEL, "--endpoint", work.url, "--concepts", f"{work.folder}/concepts.jsonl"]
    command += ["--output", work.output, "--max-records", str(work.records), "--seed", str(SEED)]
    command += ["--concurrency", str(work.concurrency), "--store", f"file://{work.folder}/store"]
    return command + (["--requests-per-minute", str(work.quota)] if work.quota else [])


def usage_of(command: Sequence[str], log: Path) -> tuple[float, float, float]:
    """Runs a command: wall seconds, CPU seconds, peak memory in MB. Raises RuntimeError with the end of its output."""
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}:\n{tail}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


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


@contextmanager
def emulator(latency_seconds: float, quota: int) -> Iterator[tuple[str, str]]:
    """The server's gRPC and OpenAI addresses while it serves."""
    command = [sys.executable, "-m", "stillhouse.vertex_emulator", "--openai-port", "0"]
    command += ["--latency", f"{latency_seconds:f}s", *(["--requests-per-minute", str(quota)] if quota else [])]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url, openai = process.stdout.readline().strip(), process.stdout.readline().split()
            if not openai:
                raise RuntimeError("the emulator does not start")
            yield url, openai[-1]
        finally:
            process.terminate()


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
    with emulator(median, options.quota) as (url, openai_url):

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


def memory(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak memory of the stage at each count of records."""
    runs = []
    for count in options.memory_records:
        place = folder / str(count)
        place.mkdir()
        work = Work(str(place), str(place / "records.jsonl"), count, options.concurrency, with_client=options.client)
        seconds, cpu, peak = usage_of(child_command(run_memory, work), place / "memory.out")
        with Path(work.output).open("rb") as lines:
            written = sum(1 for _ in lines)
        runs.append({"records": written, "seconds": seconds, "cpu_seconds": cpu, "peak_rss_mb": peak})
        print(f"{written} records: {peak:.0f} MB, {seconds:.0f} s", file=sys.stderr, flush=True)
        shutil.rmtree(place)
    first, last = runs[0], runs[-1]
    ratio = last["peak_rss_mb"] / first["peak_rss_mb"]
    grown = (last["peak_rss_mb"] - first["peak_rss_mb"]) * 1024**2 / max(1, last["records"] - first["records"])
    missed = [f"peak memory grows {ratio:.2f} times"] if ratio > TARGET_MEMORY else []
    missed += [
        f"{run['records']} of {count}"
        for run, count in zip(runs, options.memory_records, strict=True)
        if run["records"] != count
    ]
    return {"teacher": "scripted, in process", "runs": runs, "bytes_a_record": grown, "ratio": ratio, "missed": missed}


def show(report: Mapping[str, Any]) -> None:
    """The table."""
    for run in report.get("runs", ()):
        print(f"{run['records']:>8} records  {run['peak_rss_mb']:7.1f} MB peak  {run['cpu_seconds']:8.1f} CPU s")
    if "runs" in report:
        grown = f"{report['bytes_a_record']:.0f} bytes a record"
        print(f"{grown}; ratio {report['ratio']:.3f} (target: at most {TARGET_MEMORY})")
    else:
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
    for name, reason in report.get("skipped", {}).items():
        print(f"skipped {name}: {reason}")
    for miss in report["missed"]:
        print(f"MISSED {miss}")


def main() -> int:
    """0, or 1 where a target is missed."""
    if sys.argv[1:2] == ["--child"]:
        CHILDREN[sys.argv[2]](Work(**json.loads(sys.argv[3])))
        return 0
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
    parser.add_argument("--memory", action="store_true", help="peak memory instead of throughput")
    parser.add_argument("--memory-records", type=int, nargs="+", default=[1_000, 100_000], metavar="N")
    parser.add_argument("--client", action="store_true", help="with --memory: load the Vertex client, as real runs do")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the same figures")
    options = parser.parse_args()
    if min(options.records, options.original_records or 2) < 2:
        parser.error("a pace takes at least 2 records")
    with tempfile.TemporaryDirectory(prefix="teacher-throughput-") as folder:
        report = (memory if options.memory else throughput)(options, Path(folder))
    show(report)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    report = {"settings": settings, "machine": platform.platform(), "cpus": os.cpu_count(), **report}
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if report["missed"] else 0


def _rows(path: Path, count: int) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for _, line in zip(range(count), lines, strict=False):
            yield json.loads(line)


if __name__ == "__main__":
    sys.exit(main())
