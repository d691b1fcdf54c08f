"""The Vertex test server in this process, and Vertex AI's own client of it, for tests of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcAsyncIOTransport
from google.cloud.aiplatform_v1.types import (
    Content,
    GenerateContentRequest,
    GenerateContentResponse,
    GenerationConfig,
    Part,
)

from stillhouse.roles.role import Example, load_role
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


def request(number: int = 0, *, seed: int = 1, model: str = "gemini-2.5-flash") -> GenerateContentRequest:
    """The teacher's first question about one of the examples."""
    system, user = ROLE.teacher_messages(EXAMPLES[number].inputs, structured=False)
    return GenerateContentRequest(
        model=f"projects/p/locations/global/publishers/google/models/{model}",
        system_instruction=Content(parts=[Part(text=system.content)]),
        contents=[Content(role="user", parts=[Part(text=user.content)])],
        generation_config=GenerationConfig(temperature=0.7, seed=seed, max_output_tokens=8192),
    )


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
