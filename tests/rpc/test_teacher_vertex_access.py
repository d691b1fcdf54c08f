"""What lets the Vertex teacher in: plain text, TLS with a token, Google credentials that are missing or refused."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from google.cloud.aiplatform_v1.types import GenerateContentResponse

from scripted_student_server import certificate_in
from scripted_teacher import question
from stillhouse.errors import DeadlineExceeded, PermissionDenied, Unavailable
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import Answer
from stillhouse.v1.teacher_pb2 import TeacherModel
from vertex_fixture import text_response, vertex_server

FLASH = "gemini-2.5-flash"


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def run() -> None:
        teacher = await open_teacher(TeacherModel(provider="vertex", model=FLASH, endpoint="http://127.0.0.1:9"), {})
        try:
            await teacher.ask(question(), deadline_seconds=10.0)
        finally:
            await teacher.close()

    with pytest.raises(Unavailable, match=r"vertex@127\.0\.0\.1:gemini"):
        asyncio.run(run())


def test_a_server_that_stalls_exceeds_the_deadline() -> None:
    async def stall(_: object) -> GenerateContentResponse:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def run() -> None:
        async with vertex_server(stall) as server:
            model = TeacherModel(provider="vertex", model=FLASH, endpoint=f"http://127.0.0.1:{server.port}")
            teacher = await open_teacher(model, {})
            try:
                await teacher.ask(question(), deadline_seconds=0.3)
            finally:
                await teacher.close()

    with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
        asyncio.run(run())


def test_the_same_client_speaks_tls_with_a_token(tmp_path: Path) -> None:
    certificate = certificate_in(tmp_path)

    async def run(token: str) -> tuple[Answer, str]:
        async with vertex_server(lambda _: text_response("hi"), token="good", certificate=certificate) as server:
            environ = {"STILLHOUSE_VERTEX_TOKEN": token, "STILLHOUSE_VERTEX_CA": str(certificate[0])}
            model = TeacherModel(provider="vertex_sdk", model=FLASH, endpoint=f"https://localhost:{server.port}")
            teacher = await open_teacher(model, environ)
            try:
                return await teacher.ask(question(), deadline_seconds=20.0), teacher.identity
            finally:
                await teacher.close()

    found, identity = asyncio.run(run("good"))
    assert (found.text, identity) == ("hi", f"vertex@localhost:{FLASH}")
    with pytest.raises(PermissionDenied, match="token is expired; put a token that is valid now into STILLHOUSE"):
        asyncio.run(run("old"))


def test_a_server_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    certificate = certificate_in(tmp_path)

    async def run() -> None:
        async with vertex_server(lambda _: text_response("hi"), certificate=certificate) as server:
            model = TeacherModel(provider="vertex", model=FLASH, endpoint=f"https://localhost:{server.port}")
            teacher = await open_teacher(model, {"STILLHOUSE_VERTEX_TOKEN": "secret"})
            try:
                await teacher.ask(question(), deadline_seconds=10.0)
            finally:
                assert server.metadata == []
                await teacher.close()

    with pytest.raises(Unavailable):
        asyncio.run(run())


def test_a_missing_credential_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_credentials(tmp_path, monkeypatch)
    with pytest.raises(PermissionDenied, match=r"gcloud auth application-default login.*GOOGLE_APPLICATION"):
        asyncio.run(open_teacher(TeacherModel(provider="vertex", model=FLASH), os.environ))


def test_a_refused_credential_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_credentials(tmp_path, monkeypatch)
    key = tmp_path / "account.json"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error": "invalid_grant", "error_description": "The account is disabled."}'
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        issuer = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = issuer.sockets[0].getsockname()[1]
        account = {
            "type": "service_account",
            "project_id": "mine",
            "client_email": "teacher@mine.example",
            "private_key": certificate_in(tmp_path)[1].read_text(),
            "token_uri": f"http://127.0.0.1:{port}/token",
        }
        key.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        async with issuer:
            teacher = await open_teacher(TeacherModel(provider="vertex", model=FLASH), os.environ)
            try:
                await teacher.ask(question(), deadline_seconds=10.0)
            finally:
                await teacher.close()

    with pytest.raises(PermissionDenied, match=r"refused or expired.*gcloud auth application-default login"):
        asyncio.run(run())


def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
