"""The Vertex test server as a process: its first line, its files, its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcAsyncIOTransport
from google.cloud.aiplatform_v1.types import Content, GenerateContentRequest, GenerationConfig, Part

from stillhouse.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PERMANENT, EXIT_USAGE
from vertex_emulator_process import EmulatorProcess, emulator_command, vertex_emulator
from waiting import wait_until


def ask(address: str, seeds: range) -> list[str | None]:
    """An answer a seed, all at once; None where the call failed."""

    async def work() -> list[str | None]:
        async with grpc.aio.insecure_channel(address) as channel:
            client = PredictionServiceAsyncClient(transport=PredictionServiceGrpcAsyncIOTransport(channel=channel))

            async def one(seed: int) -> str | None:
                request = GenerateContentRequest(
                    model="projects/p/locations/l/publishers/google/models/gemini-2.5-flash",
                    contents=[Content(role="user", parts=[Part(text="CONCEPT\nA diary\n\nREQUIREMENTS\nnone\n")])],
                    generation_config=GenerationConfig(seed=seed),
                )
                try:
                    response = await client.generate_content(request, timeout=30)
                except exceptions.GoogleAPICallError:
                    return None
                return response.response_id

            return list(await asyncio.gather(*map(one, seeds)))

    return asyncio.run(work())


def test_the_bill_log_has_every_call_that_was_answered(tmp_path: Path) -> None:
    flags = ("--unavailable", "0.3", "--openai-port", "0", "--latency", "10ms", "--faults", "recorded")
    with vertex_emulator(tmp_path, *flags) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.openai_url is not None
        answers = ask(server.address, range(60))
        answered = [answer for answer in answers if answer is not None]
        assert 0 < len(answered) < 60
        assert Counter(line["digest"][:24] for line in server.billed()) == Counter(answered)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == EXIT_DONE
        assert server.stats()["billed_calls"] == len(answered)
        assert server.stats()["unavailable"] == 60 - len(answered)


def test_a_call_in_flight_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with vertex_emulator(tmp_path, "--stall", "1", "--openai-port", "0") as server:
        channel = grpc.insecure_channel(server.address)
        method = channel.unary_unary(
            "/google.cloud.aiplatform.v1.PredictionService/GenerateContent",
            request_serializer=GenerateContentRequest.serialize,
        )
        content = Content(role="user", parts=[Part(text="Hello")])
        model = "projects/p/locations/l/publishers/google/models/gemini-2.5-flash"
        call = method.future(GenerateContentRequest(model=model, contents=[content]), timeout=60)
        wait_until(lambda: _is_stalled(server), "the call's arrival")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == EXIT_INTERRUPTED
        assert call.exception(20) is not None
        channel.close()


def test_the_server_ends_with_its_runner(tmp_path: Path) -> None:
    with vertex_emulator(tmp_path, environment={"STILLHOUSE_WATCH_STDIN": "1"}) as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(20) == EXIT_DONE


@pytest.mark.parametrize("openai", [False, True])
def test_a_port_in_use_ends_it_with_a_message(openai: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        flag = "--openai-port" if openai else "--port"
        command = emulator_command(flag, str(taken.getsockname()[1]))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == EXIT_PERMANENT
    assert f"choose another {flag}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("flags", [("--host", "0.0.0.0"), ("--faults", "some"), ("--role", "absent")])
def test_wrong_flags_are_wrong_usage(flags: tuple[str, ...]) -> None:
    done = subprocess.run(emulator_command(*flags), capture_output=True, text=True, timeout=60)
    assert done.returncode == EXIT_USAGE
    assert "Traceback" not in done.stderr


def test_the_command_line_starts_the_same_server(tmp_path: Path) -> None:
    command = [*emulator_command()[:2], "stillhouse.cli", "vertex-emulator", "--latency", "5ms", "--token", "secret"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip().removeprefix("http://")
        assert ask(address, range(1)) == [None]
        shown = Path(f"/proc/{process.pid}/cmdline")
        assert not shown.exists() or b"secret" not in shown.read_bytes()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == EXIT_DONE
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def _is_stalled(server: EmulatorProcess) -> bool:
    """A call is in flight that will not be answered."""
    assert server.openai_url is not None
    with urllib.request.urlopen(f"{server.openai_url.removesuffix('/v1')}/stats", timeout=20) as response:
        return json.load(response)["stalled"] > 0
