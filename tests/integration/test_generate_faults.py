"""A teacher in trouble: away and back, out of quota, failing, saying a megabyte of nothing. No record is lost."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from threading import Event

import pytest
from google.cloud.aiplatform_v1.types import GenerateContentRequest, GenerateContentResponse

from cli_leaves import Outcome, end_leaf, read_rows, start_leaf
from generation_fixture import logged_answers, write_concepts
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.errors import StillhouseError
from stillhouse.roles.role import load_role
from stillhouse.teacher_generator.data_file import FileGeneration
from stillhouse.teacher_generator.data_files import DataFiles
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, TeacherStage
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel
from vertex_emulator_process import vertex_emulator
from vertex_fixture import Reply, text_response, vertex_server
from waiting import wait_until

RECORDS = 30


def arguments(url: str, folder: Path, *more: object) -> list[object]:
    places = ["--concepts", folder / "concepts.jsonl", "--output", folder / "data.jsonl", "--store", folder / "store"]
    return ["generate", "--provider", "vertex", "--endpoint", url, "--concurrency", 8, *places, *more]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The data file of a quiet server of the same seed."""
    folder = tmp_path_factory.mktemp("quiet")
    write_concepts(folder / "concepts.jsonl", 80)
    with vertex_emulator(folder, "--faults", "recorded") as server:
        outcome = end_leaf(start_leaf(*arguments(server.url, folder, "--max-records", RECORDS)))
    assert outcome.code == 0, outcome.err
    return (folder / "data.jsonl").read_bytes()


def test_a_server_that_goes_away_and_comes_back_is_waited_for(tmp_path: Path, undisturbed: bytes) -> None:
    write_concepts(tmp_path / "concepts.jsonl", 80)
    with vertex_emulator(tmp_path, "--faults", "recorded", "--latency", "200ms") as server:
        process = start_leaf(*arguments(server.url, tmp_path, "--max-records", RECORDS))
        wait_until(lambda: len(server.billed()) >= 10, "ten calls are billed")
        server.process.kill()
        server.process.wait(30)
        port = server.url.rpartition(":")[2]
    wait_until(lambda: "unavailable" in (tmp_path / "data.log").read_text(), "the server is missed")
    assert process.poll() is None
    with vertex_emulator(tmp_path, "--faults", "recorded", "--latency", "20ms", "--port", port) as server:
        outcome = end_leaf(process)
        digests = [line["digest"] for line in server.billed()]
    assert outcome.code == 0, outcome.err
    # Only what was answered while the server died can have been billed and lost.
    assert len(digests) - len(logged_answers(tmp_path / "store")) <= 8
    assert (tmp_path / "data.jsonl").read_bytes() == undisturbed


def test_half_of_all_calls_refused_for_quota_and_a_third_failing_lose_no_record(
    tmp_path: Path, undisturbed: bytes
) -> None:
    write_concepts(tmp_path / "concepts.jsonl", 80)
    flags = ("--faults", "recorded", "--latency", "20ms", "--unavailable", "0.3", "--requests-per-minute", "240")
    with vertex_emulator(tmp_path, *flags) as server:
        outcome = end_leaf(start_leaf(*arguments(server.url, tmp_path, "--max-records", RECORDS)))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        stats = server.stats()
    assert outcome.code == 0, outcome.err
    assert stats["throttled"] > 0
    assert stats["unavailable"] > 0
    assert stats["billed_twice"] == 0
    assert stats["billed_calls"] == len(logged_answers(tmp_path / "store"))
    assert (tmp_path / "data.jsonl").read_bytes() == undisturbed


def test_a_server_that_is_not_there_is_said_and_a_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    write_concepts(tmp_path / "concepts.jsonl", 5)
    process = start_leaf(*arguments("http://127.0.0.1:9", tmp_path, "--max-records", 3))
    log = tmp_path / "data.log"
    wait_until(lambda: log.exists() and "unavailable" in log.read_text(), "the server is missed")
    process.send_signal(signal.SIGINT)
    # A call that is being refused just then is awaited; the five minutes that a server may be away are not.
    outcome = end_leaf(process, seconds=120)
    assert outcome.code == 130
    assert "--resume goes on from here" in outcome.err


def test_the_first_ctrl_c_says_what_is_awaited_and_keeps_it(tmp_path: Path) -> None:
    write_concepts(tmp_path / "concepts.jsonl", 5)

    async def interrupt() -> tuple[str, Outcome]:
        asked, released = asyncio.Event(), asyncio.Event()

        async def reply(_: GenerateContentRequest) -> GenerateContentResponse:
            asked.set()
            await released.wait()
            return text_response("nothing to the point")

        async with vertex_server(reply) as server:
            process = start_leaf(*arguments(f"http://127.0.0.1:{server.port}", tmp_path, "--max-records", 1))
            await asyncio.wait_for(asked.wait(), 120)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = await asyncio.to_thread(process.stderr.readline)
            while said and not said.startswith("stopping"):
                said = await asyncio.to_thread(process.stderr.readline)
            released.set()
            return said, await asyncio.to_thread(end_leaf, process)

    said, outcome = asyncio.run(interrupt())
    assert said == "stopping: awaiting 1 call in flight, billed in any case; Ctrl-C again gives its answer up\n"
    assert (outcome.code, outcome.err) == (130, "stopped; the same command with --resume goes on from here\n")
    assert len(logged_answers(tmp_path / "store")) == 1


def generated(reply: Reply, folder: Path, *, records: int = 2) -> tuple[DataFiles, StillhouseError | None]:
    """A generation against a scripted Vertex server of its own, in this process."""
    concepts = write_concepts(folder / "concepts.jsonl", 4)
    files = DataFiles(folder / "data.jsonl")
    role = load_role("product_owner")
    teacher = TeacherModel(
        provider="vertex",
        model="gemini-2.5-flash",
        prompt=TEACHER_PROMPT_FENCED,
        temperature=0.7,
        max_output_tokens=8192,
        concurrency=2,
    )
    request = GenerateRecordsRequest(
        role=RoleReference(name=role.name, version=role.version),
        stages=[TeacherStage(name="s", teacher=teacher, min_score=0.8, until=records, attempts=1)],
        guards=role.guard_names,
        seed=42,
    )

    async def serve() -> StillhouseError | None:
        async with vertex_server(reply) as server:
            request.stages[0].teacher.endpoint = f"http://127.0.0.1:{server.port}"
            work = FileGeneration(AnswerLog(Store.open(str(folder / "store"))), {}, lambda _: None, Event())
            try:
                await asyncio.to_thread(lambda: work.generate(request, concepts, files, resume=False, overwrite=False))
            except StillhouseError as exc:
                return exc
            return None

    return files, asyncio.run(serve())


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "Die Antwort auf Ihre Frage lautet: zweiundvierzig.\n" * 20, "```yaml VISION\n- a\n" * 50_000],
)
def test_answers_of_a_megabyte_or_in_another_language_are_set_aside(tmp_path: Path, text: str) -> None:
    files, error = generated(lambda _: text_response(text), tmp_path)
    assert error is None
    assert files.records.read_text() == ""
    letters = read_rows(files.dead_letters)
    assert len(letters) == 4
    assert {letter["reason"] for letter in letters} <= {"missing_block", "malformed"}
    assert {len(answer["text"]) for answer in logged_answers(tmp_path / "store")} == {len(text)}
