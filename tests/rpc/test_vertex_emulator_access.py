"""Where the Vertex test server listens, and whom it lets in."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.api_core import exceptions
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scripted_student_server import certificate_in
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound
from stillhouse.vertex_emulator.config import EmulatorConfig
from stillhouse.vertex_emulator.server import emulator
from vertex_emulator_client import client_of, details, request, run, target, text_of


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
