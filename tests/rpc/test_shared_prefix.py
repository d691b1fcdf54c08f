"""Calls of one caller at a time share what they begin with: a real server reads it once for all of its slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
UNTOLD = replace(SHARED, shared_prefix=False)


@dataclass(frozen=True)
class Served:
    client: StudentClient
    temporary: Path
    log: Path


def prompts(beginning: str) -> list[list[Message]]:
    system = Message("system", beginning * 100)
    return [[system, Message("user", f"{name} says hello to the others")] for name in "ABC"]


@contextmanager
def serving(folder: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server of the tiny model that puts its slots down in a folder of its own."""
    temporary = folder / "tmp"
    temporary.mkdir()
    server = student_server(
        str(tiny_gguf(folder)),
        folder,
        *("--parallel", str(SLOTS), "--context", "4096", *flags),
        environment={"TMPDIR": str(temporary), **(environment or {})},
    )
    with server as started, StudentClient(started.address) as client:
        yield Served(client, temporary, started.errors)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("student")) as started:
        yield started


@pytest.fixture
def client(served: Served) -> StudentClient:
    return served.client


def ask_at_once(
    client: StudentClient, questions: list[list[Message]], options: GenerationOptions
) -> list[StudentAnswer]:
    with ThreadPoolExecutor(SLOTS) as threads:
        return list(threads.map(lambda question: client.generate(question, options), questions))


def test_what_parallel_prompts_begin_with_is_read_once_for_all_slots(served: Served) -> None:
    questions = prompts("Read this. ")

    answers = ask_at_once(served.client, questions, SHARED)

    read = sorted(answer.prompt_tokens - answer.cached_tokens for answer in answers)
    assert read[1] < 50 < answers[0].prompt_tokens - 50 < read[2], "whoever had it read for all says so"
    assert [answer.text for answer in answers] == [
        served.client.generate(question, EXACT).text for question in questions
    ]
    assert list(served.temporary.iterdir()) == []


@pytest.mark.parametrize(
    "options", [UNTOLD, replace(SHARED, cache_prompt=False)], ids=["not told to share", "not to be kept"]
)
def test_other_slots_hold_only_what_they_were_told_to_keep(client: StudentClient, options: GenerationOptions) -> None:
    first, second, _ = prompts(f"Read that, {options.shared_prefix}. ")
    client.generate(first, options)
    stream = client.stream(first, replace(UNTOLD, max_tokens=400))
    next(stream)
    assert client.generate(second, UNTOLD).cached_tokens < 50
    assert len(list(stream)) > 1


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
    with serving(tmp_path) as served:
        served.temporary.rmdir()
        answers = ask_at_once(served.client, questions, SHARED)
        assert [answer.text for answer in answers] == [
            served.client.generate(question, EXACT).text for question in questions
        ]
        assert served.log.read_text().count("each slot reads its prompt itself") == 1


def test_a_listener_that_others_may_call_has_no_slots_put_down(tmp_path: Path) -> None:
    environment = {"STILLHOUSE_HTTP_KEY": "a key for tests"}
    with serving(tmp_path, "--http-port", str(free_port()), environment=environment) as served:
        assert len(ask_at_once(served.client, prompts("Read this. "), SHARED)) == SLOTS
        assert list(served.temporary.iterdir()) == []
