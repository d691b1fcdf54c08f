"""The Vertex test server, asked by Vertex AI's own client over real connections."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import openai
import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcAsyncIOTransport
from google.cloud.aiplatform_v1.types import (
    Candidate,
    Content,
    GenerateContentRequest,
    GenerateContentResponse,
    GenerationConfig,
    Part,
)
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scripted_student_server import certificate_in
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound
from stillhouse.roles.role import Example, Message, load_role
from stillhouse.vertex_emulator.config import EmulatorConfig
from stillhouse.vertex_emulator.desk import Conditions
from stillhouse.vertex_emulator.server import RunningEmulator, emulator

ROLE = load_role("product_owner")
EXAMPLES: list[Example] = list(ROLE.examples(count=12, seed=4, planted=0.3))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def target(url: str) -> str:
    return url.partition("://")[2]


@asynccontextmanager
async def client_of(
    url: str, *, certificate: Path | None = None, token: str | None = None
) -> AsyncIterator[PredictionServiceAsyncClient]:
    if certificate is None:
        channel = grpc.aio.insecure_channel(target(url))
    else:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        if token is not None:
            credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
        channel = grpc.aio.secure_channel(target(url), credentials)
    async with channel:
        yield PredictionServiceAsyncClient(transport=PredictionServiceGrpcAsyncIOTransport(channel=channel))


def as_request(messages: list[Message], *, seed: int = 1, model: str = "gemini-2.5-flash") -> GenerateContentRequest:
    names = {"user": "user", "assistant": "model"}
    return GenerateContentRequest(
        model=f"projects/p/locations/global/publishers/google/models/{model}",
        system_instruction=Content(parts=[Part(text=messages[0].content)]),
        contents=[Content(role=names[each.role], parts=[Part(text=each.content)]) for each in messages[1:]],
        generation_config=GenerationConfig(temperature=0.7, seed=seed, max_output_tokens=8192),
    )


def request(number: int = 0, *, seed: int = 1, model: str = "gemini-2.5-flash") -> GenerateContentRequest:
    messages = ROLE.teacher_messages(EXAMPLES[number].inputs, structured=False)
    return as_request(messages, seed=seed, model=model)


def text_of(response: GenerateContentResponse) -> str:
    return "".join(part.text for candidate in response.candidates for part in candidate.content.parts)


def details(error: exceptions.GoogleAPICallError, kind: type) -> Any:
    return next(detail for detail in error.details if isinstance(detail, kind))


@asynccontextmanager
async def served(
    conditions: Conditions | None = None, **fields: Any
) -> AsyncIterator[tuple[RunningEmulator, PredictionServiceAsyncClient]]:
    config = EmulatorConfig(conditions=conditions or Conditions(), **fields)
    async with emulator(config) as running, client_of(running.url) as client:
        yield running, client


def test_a_concept_is_answered_well_and_paid_for() -> None:
    async def work() -> None:
        async with served() as (running, client):
            response = await client.generate_content(request(), timeout=30)
            outputs = ROLE.parse(text_of(response)).outputs
            assert ROLE.problems(outputs) == []
            assert ROLE.score(EXAMPLES[0].inputs, outputs).score >= 0.8
            assert response.candidates[0].finish_reason == Candidate.FinishReason.STOP
            assert response.model_version == "gemini-2.5-flash"
            usage = response.usage_metadata
            assert usage.prompt_token_count > 500
            assert usage.thoughts_token_count > 0
            counts = running.bill.snapshot()
            assert (counts["billed_calls"], counts["in_flight"]) == (1, 0)
            assert counts["output_tokens"] == usage.candidates_token_count + usage.thoughts_token_count
            assert counts["cost_usd"] > 0

    run(work())


def test_a_stream_is_the_same_answer_in_pieces_and_is_billed_once() -> None:
    async def work() -> None:
        async with served() as (running, client):
            whole = await client.generate_content(request(), timeout=30)
            stream = await client.stream_generate_content(request(), timeout=30)
            pieces = [piece async for piece in stream]
            assert len(pieces) > 3
            assert "".join(map(text_of, pieces)) == text_of(whole)
            assert pieces[-1].usage_metadata == whole.usage_metadata
            assert pieces[-1].candidates[0].finish_reason == Candidate.FinishReason.STOP
            assert running.bill.snapshot()["billed_calls"] == 2

    run(work())


def test_a_restart_changes_no_answer() -> None:
    async def answers() -> list[bytes]:
        async with served(recorded_faults=True, seed=5) as (_, client):
            requests = [request(number) for number in range(len(EXAMPLES))]
            responses = await asyncio.gather(*(client.generate_content(each, timeout=30) for each in requests))
            return [GenerateContentResponse.serialize(each) for each in responses]

    async def work() -> None:
        first = await answers()
        assert await answers() == first
        assert len(set(first)) == len(first)

    run(work())


def test_faults_in_transport_change_no_answer() -> None:
    async def ask(client: PredictionServiceAsyncClient) -> str:
        while True:
            try:
                return text_of(await client.generate_content(request(), timeout=30))
            except (exceptions.ServiceUnavailable, exceptions.ResourceExhausted):
                await asyncio.sleep(0.05)

    async def work() -> None:
        async with served() as (_, client):
            undisturbed = await ask(client)
        rough = Conditions(unavailable=0.5, requests_per_minute=600, latency_seconds=0.01)
        async with served(rough) as (running, client):
            assert {await ask(client) for _ in range(20)} == {undisturbed}
            counts = running.bill.snapshot()
            assert counts["unavailable"] > 0
            assert counts["billed_calls"] == 20
            assert counts["requests"] == 20 + counts["unavailable"] + counts["throttled"]

    run(work())


def test_beyond_the_quota_it_says_when_to_come_back() -> None:
    async def work() -> None:
        async with served(Conditions(requests_per_minute=30)) as (running, client):
            for seed in range(3):
                await client.generate_content(request(seed=seed), timeout=30)
            with pytest.raises(exceptions.ResourceExhausted, match="Quota exceeded for requests per minute") as caught:
                await client.generate_content(request(), timeout=30)
            delay = details(caught.value, error_details_pb2.RetryInfo).retry_delay
            assert 1.0 < delay.ToMilliseconds() / 1000 <= 2.0
            assert details(caught.value, error_details_pb2.ErrorInfo).reason == "RATE_LIMIT_EXCEEDED"
            await asyncio.sleep(delay.ToMilliseconds() / 1000)
            await client.generate_content(request(), timeout=30)
            counts = running.bill.snapshot()
            assert (counts["billed_calls"], counts["throttled"]) == (4, 1)

    run(work())


def test_a_stalled_call_ends_with_the_callers_deadline_and_is_free() -> None:
    async def work() -> None:
        async with served(Conditions(stall=1.0)) as (running, client):
            with pytest.raises(exceptions.DeadlineExceeded):
                await client.generate_content(request(), timeout=0.3)
            while running.bill.traffic.in_flight:
                await asyncio.sleep(0.01)
            counts = running.bill.snapshot()
            assert (counts["stalled"], counts["billed_calls"]) == (1, 0)

    run(work())


def test_a_caller_that_gives_up_before_the_answer_is_not_billed() -> None:
    async def work() -> None:
        async with served(Conditions(latency_seconds=20.0)) as (running, client):
            with pytest.raises(exceptions.DeadlineExceeded):
                await client.generate_content(request(), timeout=0.3)
            while running.bill.traffic.in_flight:
                await asyncio.sleep(0.01)
            assert running.bill.snapshot()["billed_calls"] == 0

    run(work())


def test_calls_wait_side_by_side() -> None:
    async def work() -> None:
        async with served(Conditions(latency_seconds=0.5)) as (running, client):
            begun = asyncio.get_running_loop().time()
            requests = [request(number % len(EXAMPLES), seed=number) for number in range(40)]
            await asyncio.gather(*(client.generate_content(each, timeout=30) for each in requests))
            assert asyncio.get_running_loop().time() - begun < 8
            assert running.bill.traffic.most_in_flight > 20

    run(work())


def test_tls_and_token_let_the_right_caller_in(tmp_path: Path) -> None:
    async def work() -> None:
        certificate, key = certificate_in(tmp_path)
        config = EmulatorConfig(tls_certificate=certificate, tls_key=key, token="swordfish")
        async with emulator(config) as running:
            assert running.url.startswith("https://")
            async with client_of(running.url, certificate=certificate, token="swordfish") as client:
                assert text_of(await client.generate_content(request(), timeout=30))
            for token, reason in ((None, "CREDENTIALS_MISSING"), ("old", "ACCESS_TOKEN_EXPIRED")):
                async with client_of(running.url, certificate=certificate, token=token) as client:
                    with pytest.raises(exceptions.Unauthenticated) as caught:
                        await client.generate_content(request(), timeout=30)
                    assert details(caught.value, error_details_pb2.ErrorInfo).reason == reason
                    with pytest.raises(exceptions.Unauthenticated):
                        async for _ in await client.stream_generate_content(request(), timeout=30):
                            pass
            counts = running.bill.snapshot()
            assert (counts["unauthenticated"], counts["billed_calls"]) == (4, 1)

    run(work())


def test_a_wrong_request_is_named_as_vertex_names_it() -> None:
    async def work() -> None:
        async with served() as (_, client):
            with pytest.raises(exceptions.NotFound, match="llama-9"):
                await client.generate_content(request(model="llama-9"), timeout=30)
            nameless = GenerateContentRequest(model="x", contents=request().contents)
            with pytest.raises(exceptions.InvalidArgument, match="Invalid resource name"):
                await client.generate_content(nameless, timeout=30)
            with pytest.raises(exceptions.MethodNotImplemented):
                await client.predict(endpoint="projects/p/locations/l/endpoints/1", instances=[], timeout=30)

    run(work())


def test_health_is_open_and_says_serving() -> None:
    async def work() -> None:
        async with (
            emulator(EmulatorConfig(token="swordfish")) as running,
            grpc.aio.insecure_channel(target(running.url)) as channel,
        ):
            stub: Any = health_pb2_grpc.HealthStub(channel)
            name = "google.cloud.aiplatform.v1.PredictionService"
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

    run(work())


def test_a_port_in_use_is_named() -> None:
    async def work() -> None:
        async with emulator(EmulatorConfig(openai_port=0)) as running:
            port = int(running.url.rpartition(":")[2])
            with pytest.raises(FailedPrecondition, match=f"can't listen on 127.0.0.1:{port}: .*choose another --port"):
                async with emulator(EmulatorConfig(port=port)):
                    pass
            assert running.openai_url is not None
            port = int(running.openai_url.removesuffix("/v1").rpartition(":")[2])
            with pytest.raises(FailedPrecondition, match="--openai-port"):
                async with emulator(EmulatorConfig(openai_port=port)):
                    pass

    run(work())


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        absent = tmp_path / "absent.pem"
        with pytest.raises(NotFound, match=r"--tls-key .*absent\.pem"):
            async with emulator(EmulatorConfig(tls_certificate=absent, tls_key=absent)):
                pass

    run(work())


def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    async def work() -> None:
        text = tmp_path / "text.pem"
        text.write_text("no certificate")
        with pytest.raises(InvalidArgument, match="--tls-cert and --tls-key are no PEM pair"):
            async with emulator(EmulatorConfig(tls_certificate=text, tls_key=text)):
                pass

    run(work())


def test_the_openai_door_speaks_tls_too(tmp_path: Path) -> None:
    async def work() -> None:
        certificate, key = certificate_in(tmp_path)
        config = EmulatorConfig(tls_certificate=certificate, tls_key=key, openai_port=0)
        trust = ssl.create_default_context(cafile=str(certificate))
        async with emulator(config) as running, aiohttp.ClientSession() as session:
            assert running.openai_url is not None
            assert running.openai_url.startswith("https://")
            async with session.get(f"{running.openai_url}/models", ssl=trust) as response:
                assert response.status == 200

    run(work())


def chat(number: int = 0, **fields: Any) -> dict[str, Any]:
    messages = ROLE.teacher_messages(EXAMPLES[number].inputs, structured=False)
    return {
        "model": "gemini-2.5-flash",
        "messages": [{"role": each.role, "content": each.content} for each in messages],
        "temperature": 0.7,
        "seed": 1,
        "max_tokens": 8192,
        **fields,
    }


def test_the_openai_door_gives_the_answers_of_the_other() -> None:
    async def work() -> None:
        async with served(openai_port=0, recorded_faults=True) as (running, client):
            async with openai.AsyncOpenAI(base_url=running.openai_url, api_key="none", max_retries=0) as chats:
                for number in range(4):
                    whole = await client.generate_content(request(number), timeout=30)
                    answer = await chats.chat.completions.create(**chat(number))
                    assert (answer.choices[0].message.content or "") == text_of(whole)
                stream = await chats.chat.completions.create(**chat(), stream=True)
                pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
                assert "".join(pieces) == text_of(await client.generate_content(request(), timeout=30))
                assert (await chats.models.list()).data[0].id == "gemini-2.5-pro"
            async with aiohttp.ClientSession() as session:
                assert running.openai_url is not None
                async with session.get(running.openai_url.removesuffix("/v1") + "/stats") as response:
                    counts = await response.json()
            assert (counts["billed_calls"], counts["billed_twice"]) == (10, 4)

    run(work())


def test_the_openai_door_asks_for_a_schema_and_counts_thinking() -> None:
    async def work() -> None:
        async with (
            emulator(EmulatorConfig(openai_port=0)) as running,
            openai.AsyncOpenAI(base_url=running.openai_url, api_key="none", max_retries=0) as chats,
        ):
            schema = ROLE.response_schema(ROLE.output_fields)
            wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            answer = await chats.chat.completions.create(**chat(response_format=wanted))
            assert set(json.loads(answer.choices[0].message.content or "")) == set(ROLE.output_fields)
            usage = answer.usage
            assert usage is not None
            assert usage.completion_tokens_details is not None
            assert usage.completion_tokens > (usage.completion_tokens_details.reasoning_tokens or 0) > 0

    run(work())


def test_the_openai_door_refuses_as_openai_does() -> None:
    async def work() -> None:
        slow = Conditions(requests_per_minute=10)
        async with emulator(EmulatorConfig(openai_port=0, token="swordfish", conditions=slow)) as running:
            stranger = openai.AsyncOpenAI(base_url=running.openai_url, api_key="none", max_retries=0)
            async with (
                stranger,
                openai.AsyncOpenAI(base_url=running.openai_url, api_key="swordfish", max_retries=0) as chats,
            ):
                with pytest.raises(openai.AuthenticationError):
                    await stranger.chat.completions.create(**chat())
                with pytest.raises(openai.NotFoundError):
                    await chats.chat.completions.create(**chat(model="llama"))
                with pytest.raises(openai.BadRequestError, match="n must be 1"):
                    await chats.chat.completions.create(**chat(n=2))
                await chats.chat.completions.create(**chat())
                with pytest.raises(openai.RateLimitError) as caught:
                    await chats.chat.completions.create(**chat())
                assert 5 <= int(caught.value.response.headers["retry-after"]) <= 6

    run(work())
