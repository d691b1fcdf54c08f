"""Calls of one caller at a time share what they begin with: a real server reads it once for all of its slots."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gguf_fixture import tiny_gguf
from stillhouse.client.student import GenerationOptions, StudentAnswer, StudentClient
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Message
from student_server import free_port, student_server

SLOTS = 3
EXACT = GenerationOptions(cache_prompt=False, max_tokens=24)
SHARED = GenerationOptions(shared_prefix=True, max_tokens=24)


def prompts(beginning: str) -> list[list[Message]]:
    system = Message("system", beginning * 100)
    return [[system, Message("user", f"{name} says hello to the others")] for name in "ABC"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("student")


@pytest.fixture(scope="module")
def client(scratch: Path) -> Iterator[StudentClient]:
    flags = ("--parallel", str(SLOTS), "--context", "4096")
    (scratch / "tmp").mkdir()
    with (
        student_server(
            str(tiny_gguf(scratch)), scratch, *flags, environment={"TMPDIR": str(scratch / "tmp")}
        ) as server,
        StudentClient(server.address) as connected,
    ):
        yield connected


def ask_at_once(
    client: StudentClient, questions: list[list[Message]], options: GenerationOptions
) -> list[StudentAnswer]:
    with ThreadPoolExecutor(SLOTS) as threads:
        return list(threads.map(lambda question: client.generate(question, options), questions))


def test_what_parallel_prompts_begin_with_is_read_once_for_all_slots(client: StudentClient, scratch: Path) -> None:
    questions = prompts("Read this. ")

    answers = ask_at_once(client, questions, SHARED)

    assert [answer.prompt_tokens - answer.cached_tokens < 50 < answer.cached_tokens for answer in answers] == [True] * 3
    assert [answer.text for answer in answers] == [client.generate(question, EXACT).text for question in questions]
    assert [path for path in (scratch / "tmp").rglob("*") if path.is_file()] == []


def test_without_being_told_each_slot_reads_it(client: StudentClient) -> None:
    answers = ask_at_once(client, prompts("Read that. "), replace(SHARED, shared_prefix=False))
    assert sum(answer.cached_tokens < 50 for answer in answers) > 1


def test_a_server_that_is_busy_answers_and_loses_nothing(client: StudentClient) -> None:
    long = GenerationOptions(max_tokens=400, cache_prompt=False)
    stream = client.stream("Once", long)
    first = next(stream)
    questions = prompts("Read something else. ")

    assert [answer.text for answer in ask_at_once(client, questions[:2], SHARED)] == [
        client.generate(question, EXACT).text for question in questions[:2]
    ]

    *_, last = stream
    assert isinstance(last, StudentAnswer)
    assert (last.text.startswith(str(first)), last.completion_tokens) == (True, 400)
    assert last.text == client.generate("Once", long).text


def test_a_beginning_that_does_not_fit_is_refused_as_its_prompt_is(client: StudentClient) -> None:
    with pytest.raises(InvalidArgument, match="tokens and a slot has 4096"):
        client.generate([Message("system", "x " * 9000), Message("user", "Hello")], SHARED)
    assert client.generate([Message("user", "Hello")], SHARED).text


def test_where_slots_cannot_be_put_down_each_reads_its_prompt(tmp_path: Path) -> None:
    questions = prompts("Read this. ")
    flags = ("--parallel", str(SLOTS), "--context", "4096")
    (tmp_path / "tmp").mkdir()
    with (
        student_server(
            str(tiny_gguf(tmp_path)), tmp_path, *flags, environment={"TMPDIR": str(tmp_path / "tmp")}
        ) as server,
        StudentClient(server.address) as client,
    ):
        for folder in (tmp_path / "tmp").iterdir():
            folder.rmdir()
        answers = ask_at_once(client, questions, SHARED)
        assert [answer.text for answer in answers] == [client.generate(question, EXACT).text for question in questions]


def test_a_listener_that_others_may_call_has_no_slots_put_down(tmp_path: Path) -> None:
    flags = ("--parallel", str(SLOTS), "--context", "4096", "--http-port", str(free_port()))
    (tmp_path / "tmp").mkdir()
    environment = {"TMPDIR": str(tmp_path / "tmp"), "STILLHOUSE_HTTP_KEY": "a key for tests"}
    with (
        student_server(str(tiny_gguf(tmp_path)), tmp_path, *flags, environment=environment) as server,
        StudentClient(server.address) as client,
    ):
        assert len(ask_at_once(client, prompts("Read this. "), SHARED)) == SLOTS
        assert list((tmp_path / "tmp").iterdir()) == []
