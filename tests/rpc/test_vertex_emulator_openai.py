"""The test server's HTTP door, asked by OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import openai
import pytest

from stillhouse.vertex_emulator.config import EmulatorConfig
from stillhouse.vertex_emulator.desk import Conditions
from stillhouse.vertex_emulator.server import emulator
from vertex_emulator_client import EXAMPLES, ROLE, request, run, served, text_of


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
        slow = Conditions(requests_per_minute=1)
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
                assert 0 < int(caught.value.response.headers["retry-after"]) <= 60

    run(work())
