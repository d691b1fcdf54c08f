"""A Vertex AI for tests: a real gRPC server on localhost with google.cloud.aiplatform.v1.PredictionService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.cloud.aiplatform_v1.types import Candidate, Content, GenerateContentRequest, GenerateContentResponse, Part
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

SERVICE = "google.cloud.aiplatform.v1.PredictionService"

Reply = Callable[[GenerateContentRequest], GenerateContentResponse | Awaitable[GenerateContentResponse]]
"""Answers a request, or raises Refusal."""


class Refusal(Exception):
    """The server refuses with this status."""

    def __init__(self, code: int, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = Status(code=code, message=message)
        if retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(retry_after_seconds * 1000))
            packed = any_pb2.Any()
            packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
            self.status.details.append(packed)


class VertexServer:
    """What it was asked, with which metadata, and where it is."""

    def __init__(self, reply: Reply, *, token: str | None = None) -> None:
        self.reply = reply
        self.token = token
        self.requests: list[GenerateContentRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.deadlines: list[float | None] = []
        self.port = 0

    async def generate(self, message: Any, context: grpc.aio.ServicerContext[Any, Any]) -> GenerateContentResponse:
        request = GenerateContentRequest.wrap(message)
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.deadlines.append(context.time_remaining())
        try:
            if self.token is not None and self.metadata[-1].get("authorization") != f"Bearer {self.token}":
                raise Refusal(code_pb2.UNAUTHENTICATED, "the access token is expired")
            reply = self.reply(request)
            return reply if isinstance(reply, GenerateContentResponse) else await reply
        except Refusal as refusal:
            await context.abort_with_status(rpc_status.to_status(refusal.status))
            raise


def text_response(text: str, *, prompt: int = 11, output: int = 7, thoughts: int = 0) -> GenerateContentResponse:
    return GenerateContentResponse(
        candidates=[
            Candidate(content=Content(role="model", parts=[Part(text=text)]), finish_reason=Candidate.FinishReason.STOP)
        ],
        usage_metadata=GenerateContentResponse.UsageMetadata(
            prompt_token_count=prompt, candidates_token_count=output, thoughts_token_count=thoughts
        ),
    )


@asynccontextmanager
async def vertex_server(
    reply: Reply, *, token: str | None = None, certificate: tuple[Path, Path] | None = None
) -> AsyncIterator[VertexServer]:
    """The server on a free port; over TLS where it has a certificate and its key."""
    served = VertexServer(reply, token=token)
    handler = grpc.unary_unary_rpc_method_handler(
        served.generate,
        request_deserializer=GenerateContentRequest.pb().FromString,
        response_serializer=GenerateContentResponse.serialize,
    )
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"GenerateContent": handler}),))
    if certificate is None:
        served.port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (certificate[1].read_bytes(), certificate[0].read_bytes())
        served.port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        yield served
    finally:
        await server.stop(0)
