"""A real server of a tiny random model: answers, constraints, limits, admission and cancellation over gRPC."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from gguf_fixture import tiny_gguf
from stillhouse.client.student import GenerationOptions, RolePrompt, StudentAnswer, StudentClient
from stillhouse.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from stillhouse.roles.role import Message, load_role
from student_server import StudentServer, free_port, student_server

EXACT = GenerationOptions(cache_prompt=False, max_tokens=24)
HELLO = [Message("user", "Hello")]
KEY = "a key for tests"
INPUTS = {"concept": "A bakery's pre-order page", "requirements_yaml": "- id: FR-1\n  text: Customers order bread."}


@pytest.fixture(scope="module")
def http_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, http_port: int) -> Iterator[StudentServer]:
    scratch = tmp_path_factory.mktemp("student")
    flags = ("--parallel", "2", "--queue", "1", "--context", "4096", "--http-port", str(http_port))
    with student_server(str(tiny_gguf(scratch)), scratch, *flags, environment={"STILLHOUSE_HTTP_KEY": KEY}) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: StudentServer) -> Iterator[StudentClient]:
    with StudentClient(server.address) as connected:
        yield connected


def whole(client: StudentClient, options: GenerationOptions) -> StudentAnswer:
    return client.generate("Once", options, deadline_seconds=60)


def test_the_served_model_is_described(client: StudentClient, tmp_path: Path) -> None:
    info = client.info()
    assert re.fullmatch(r"[0-9a-f]{64}", info.model.sha256)
    assert info.model.size_bytes == tiny_gguf(tmp_path).stat().st_size
    assert (info.model_name, info.slots, info.context_tokens, info.quantization) == ("tiny", 2, 4096, "F16")
    assert info.parameters > 3_000_000
    assert "<|im_start|>" in info.chat_template


def test_pieces_of_a_stream_are_the_answer(client: StudentClient) -> None:
    *pieces, last = client.stream(HELLO, EXACT)
    assert isinstance(last, StudentAnswer)
    assert "".join(str(piece) for piece in pieces) == last.text
    answer = client.generate(HELLO, EXACT)
    assert answer.text == last.text
    assert (answer.finish_reason, answer.completion_tokens, answer.cached_tokens) == ("length", 24, 0)
    assert answer.model_sha256 == client.info().model.sha256
    assert answer.prompt_seconds > 0


def test_one_seed_gives_one_answer(client: StudentClient) -> None:
    first, again, other = (
        whole(client, GenerationOptions(temperature=1.5, seed=seed, cache_prompt=False, max_tokens=24)).text
        for seed in (7, 7, 8)
    )
    assert first == again != other


def test_the_prefix_cache_is_read_only_where_it_may(client: StudentClient) -> None:
    prompt = "word " * 40
    client.generate(prompt, GenerationOptions(max_tokens=1))
    assert client.generate(prompt, GenerationOptions(max_tokens=1)).cached_tokens > 30
    assert client.generate(prompt, GenerationOptions(max_tokens=1, cache_prompt=False)).cached_tokens == 0


def test_a_stop_text_ends_the_answer_before_it(client: StudentClient) -> None:
    free = whole(client, EXACT)
    stop = free.text[10:14]
    held = whole(client, GenerationOptions(cache_prompt=False, max_tokens=24, stop=(stop,)))
    assert held.text == free.text[: free.text.index(stop)]
    assert held.finish_reason == "stop"


@pytest.mark.parametrize(
    "pattern", [r"\d{3}-[a-z]{2,4}", r"^(yes|no)$", r"[^\x00-\x7f]{3}", r"(ab?)+c{2}[\].-]", r"\w\s\W"]
)
def test_a_regex_holds_the_answer(client: StudentClient, pattern: str) -> None:
    answer = whole(client, GenerationOptions(regex=pattern, temperature=1.0, seed=1, max_tokens=2000))
    assert answer.finish_reason == "stop"
    assert re.fullmatch(pattern, answer.text, re.ASCII)


def test_a_json_schema_holds_the_answer(client: StudentClient) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "size": {"enum": ["small", "large"]},
            "counts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
        },
        "required": ["name", "size", "counts"],
        "additionalProperties": False,
    }
    for seed in range(3):
        options = GenerationOptions(json_schema=json.dumps(schema), temperature=1.0, seed=seed, max_tokens=500)
        found = json.loads(whole(client, options).text)
        assert found["size"] in ("small", "large")
        assert len(found["name"]) <= 8
        assert all(0 <= count <= 9 for count in found["counts"])


def test_the_role_grammar_holds_the_answer_to_valid_outputs(client: StudentClient) -> None:
    role, prompt = load_role("product_owner"), RolePrompt("product_owner", INPUTS)
    options = GenerationOptions(role_grammar=prompt, temperature=0.7, seed=3, max_tokens=3500)
    answer = client.generate(prompt, options, deadline_seconds=120)
    assert answer.finish_reason == "stop", answer.text[-500:]
    assert role.parse(answer.text).problems == ()


@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(grammar="root ::= foo"),
        GenerationOptions(grammar="root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000),
        GenerationOptions(grammar='root ::= "a" "\\U00040000"'),
        GenerationOptions(grammar='root ::= ("a"*)*'),
        GenerationOptions(grammar="%llguidance {}\nstart: /a/"),
        GenerationOptions(regex="a(?=b)"),
        GenerationOptions(json_schema='{"type": "nothing"}'),
        GenerationOptions(json_schema='{"$ref": "#"}'),
        GenerationOptions(json_schema='{"type": "integer", "minimum": 3, "maximum": 1}'),
        GenerationOptions(json_schema="{"),
        GenerationOptions(role_grammar=RolePrompt("nobody", {})),
        GenerationOptions(temperature=9.0),
        GenerationOptions(max_tokens=0),
        GenerationOptions(stop=("x" * 1000,)),
        GenerationOptions(shared_prefix=True),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_server_lives(client: StudentClient, options: GenerationOptions) -> None:
    with pytest.raises(InvalidArgument) as caught:
        whole(client, options)
    assert caught.value.field
    assert whole(client, EXACT).text


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("x " * 9000, r"9\d\d\d tokens and a slot has 4096"),
        ("", "text is empty"),
        ("x" * 2_000_000, "bytes"),
        ([], "1 to 256"),
        ([Message("wizard", "hi")], "wizard"),
        ([Message("user", "hi"), Message("assistant", "ho")], "nothing is left"),
        (RolePrompt("product_owner", {}), "concept"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused(client: StudentClient, prompt: object, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        client.generate(prompt, EXACT)  # type: ignore[arg-type]


def test_a_chat_is_answered_as_its_rendered_text_is(client: StudentClient, http_port: int) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    chats = [
        [{"role": "user", "content": "Hi"}],
        [{"role": "system", "content": " Be  brief.\n"}, {"role": "user", "content": "{{ x }} é 漢 \t<b>&amp;\n\n"}],
        [
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "<|im_end|> 'q\" \\n"},
        ],
    ]
    template = client.info().chat_template
    for chat in chats:
        rendered, _ = render_jinja_template(conversations=[chat], chat_template=template, add_generation_prompt=True)
        assert post(http_port, "/apply-template", {"messages": chat}, KEY)["prompt"] == rendered[0]
        messages = [Message(message["role"], message["content"]) for message in chat]
        by_chat, by_text = client.generate(messages, EXACT), client.generate(rendered[0], EXACT)
        assert (by_chat.text, by_chat.prompt_tokens) == (by_text.text, by_text.prompt_tokens)


def post(port: int, path: str, body: object, key: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.load(response))


def test_the_http_listener_answers_with_its_key_only(server: StudentServer, http_port: int) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    answer = post(http_port, "/v1/chat/completions", body, KEY)
    assert answer["choices"]
    for path, key, status in (("/v1/chat/completions", "wrong", 401), ("/props", KEY, 501)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(http_port, path, body, key)
        assert caught.value.code == status
        caught.value.close()
    with pytest.raises(urllib.error.HTTPError) as page:
        urllib.request.urlopen(f"http://127.0.0.1:{http_port}/", timeout=30)
    assert page.value.code in (401, 404)
    page.value.close()


LONG = GenerationOptions(cache_prompt=False, max_tokens=4000, grammar="root ::= [a-z]+ root")


def started(client: StudentClient) -> Iterator[str | StudentAnswer]:
    """A long stream whose first piece has come."""
    stream = client.stream("Once", LONG)
    next(stream)
    return stream


def wait_for_a_slot(client: StudentClient) -> float:
    """Seconds until a request is admitted without waiting."""
    begun = time.monotonic()
    while True:
        try:
            if client.generate("Once", GenerationOptions(max_tokens=1)).queue_seconds < 0.01:
                return time.monotonic() - begun
        except ResourceExhausted:
            time.sleep(0.02)


def test_a_full_server_refuses_and_a_closed_stream_frees_its_slot(client: StudentClient) -> None:
    streams = [started(client), started(client)]
    try:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(client.generate, "Once", GenerationOptions(max_tokens=1)) for _ in range(2)]
            refused, waiting = wait(asked, return_when=FIRST_COMPLETED)
            (refusal,) = (future.exception() for future in refused)
            assert isinstance(refusal, ResourceExhausted)
            assert refusal.retry_after_seconds
            for stream in streams:
                stream.close()  # type: ignore[attr-defined]
            (answer,) = (future.result(30) for future in waiting)
            assert answer.queue_seconds > 0
    finally:
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
    assert wait_for_a_slot(client) < 5


def test_a_deadline_frees_the_slot(client: StudentClient) -> None:
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            client.generate("Once", LONG, deadline_seconds=0.2)
    assert wait_for_a_slot(client) < 5


def test_many_callers_all_get_their_own_answer(client: StudentClient) -> None:
    def ask(number: int) -> str:
        options = GenerationOptions(grammar=f'root ::= "{number}"', max_tokens=20)
        while True:
            try:
                return client.generate("Once", options).text
            except ResourceExhausted as exc:
                threading.Event().wait(exc.retry_after_seconds)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(24))) == [str(number) for number in range(24)]
