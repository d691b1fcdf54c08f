"""The API client against a small HTTP server: what is sent, and which of our errors an answer becomes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes import client

from stillhouse.controller.cluster.api import DEPLOYMENTS, DISTILLATIONS, JOBS, PODS, Conflict, KubernetesApi
from stillhouse.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    TemporaryError,
    Unavailable,
)

Json = dict[str, Any]


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    content_type: str
    body: Json | None


class ApiServer:
    """Gives its answers in order, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [Answer()]
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(
                    Asked(
                        self.command,
                        parts.path,
                        parse_qs(parts.query),
                        self.headers.get("Content-Type") or "",
                        json.loads(data) if data else None,
                    )
                )
                answer = outer.answers[0] if len(outer.answers) == 1 else outer.answers.pop(0)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
                if answer.headers.get("Connection") == "close":
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def says(self, status: int, message: str, **headers: str) -> None:
        body = json.dumps({"kind": "Status", "message": message}).encode()
        self.answers = [Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    made = ApiServer()
    yield made
    made.close()


@pytest.fixture
def api(server: ApiServer) -> Iterator[KubernetesApi]:
    made = client.ApiClient(client.Configuration(host=server.url))
    yield KubernetesApi(made)
    made.rest_client.pool_manager.clear()


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (400, "json: cannot unmarshal", InvalidArgument),
        (400, 'admission webhook "x" denied the request: no', FailedPrecondition),
        (401, "Unauthorized", PermissionDenied),
        (403, "jobs.batch is forbidden", PermissionDenied),
        (403, "exceeded quota: jobs, requested: 1", ResourceExhausted),
        (404, "not found", NotFound),
        (405, "no such kind", NotFound),
        (409, "the object has been modified", Conflict),
        (410, "the continue token is too old", Unavailable),
        (415, "what is this", InvalidArgument),
        (422, "spec.template: Invalid value", InvalidArgument),
        (429, "too many requests", ResourceExhausted),
        (500, "failed to create typed patch object: duplicate entries", InvalidArgument),
        (500, "etcd is gone", Unavailable),
        (503, "shutting down", Unavailable),
        (504, "timed out", Unavailable),
    ],
)
@pytest.mark.parametrize("method", ["create", "apply", "list", "status"])
def test_every_status_is_an_error_of_ours_in_the_servers_words(
    server: ApiServer, api: KubernetesApi, status: int, said: str, error: type[StillhouseError], method: str
) -> None:
    server.says(status, said)
    body: Json = {"metadata": {"name": "x", "resourceVersion": "1"}}
    calls = {
        "create": lambda: api.create(JOBS, "team", body),
        "apply": lambda: api.apply(DEPLOYMENTS, "team", body),
        "list": lambda: api.list(PODS, "team"),
        "status": lambda: api.replace_status(DISTILLATIONS, "team", body),
    }
    with pytest.raises(error) as raised:
        calls[method]()
    assert said in raised.value.message
    assert "team" in raised.value.message
    assert type(raised.value) is error


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize(("status", "error"), [(429, ResourceExhausted), (503, Unavailable)])
def test_retry_after_is_handed_on_and_not_slept_through(
    server: ApiServer, api: KubernetesApi, status: int, error: type[TemporaryError], method: str
) -> None:
    server.says(status, "busy", Retry_After="2")
    started = time.monotonic()
    call = (lambda: api.get(JOBS, "team", "x")) if method == "GET" else lambda: api.patch(JOBS, "team", "x", {})
    with pytest.raises(error) as raised:
        call()
    assert (raised.value.retry_after_seconds, raised.value.message) == (2.0, "Job team/x: busy")
    assert time.monotonic() - started < 1.5
    assert len(server.asked) == 1


@pytest.mark.parametrize("said", ["Wed, 21 Oct 2030 07:28:00 GMT", "soon", "-1", "²", ""])
def test_a_retry_after_that_is_no_number_of_seconds_is_passed_over(
    server: ApiServer, api: KubernetesApi, said: str
) -> None:
    server.answers = [Answer(429, b"{}", {"Retry-After": said.encode().decode("latin-1")})]
    with pytest.raises(ResourceExhausted) as raised:
        api.patch(JOBS, "team", "x", {})
    assert raised.value.retry_after_seconds is None


def test_an_answer_that_is_no_status_is_told_by_its_number_or_its_text(server: ApiServer, api: KubernetesApi) -> None:
    for body, said in [(b"", "HTTP 502"), (b"<html>bad gateway", "bad gateway"), (b"[]", "[]")]:
        server.answers = [Answer(502, body)]
        with pytest.raises(Unavailable, match=said.replace("[]", r"\[\]")):
            api.get(JOBS, "team", "x")


def test_an_answer_that_is_no_json_is_a_server_that_is_not_there(server: ApiServer, api: KubernetesApi) -> None:
    server.answers = [Answer(200, b"<html>log in here</html>")]
    with pytest.raises(Unavailable, match="Job team/x"):
        api.get(JOBS, "team", "x")


def test_a_broken_connection_is_unavailable(server: ApiServer, api: KubernetesApi) -> None:
    server.answers = [Answer(200, b"{", {"Content-Length": "100", "Connection": "close"})]
    with pytest.raises(Unavailable, match="can't be reached"):
        api.get(JOBS, "team", "x")


def test_a_list_is_read_to_its_last_page(server: ApiServer, api: KubernetesApi) -> None:
    server.answers = [
        Answer(body=json.dumps({"metadata": {"continue": "a b"}, "items": [{"n": 1}, {"n": 2}]}).encode()),
        Answer(body=json.dumps({"metadata": {"continue": "c"}, "items": []}).encode()),
        Answer(body=json.dumps({"metadata": {}, "items": [{"n": 3}]}).encode()),
    ]
    assert api.list(JOBS, "team", labels="a=b,c") == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [asked.query.get("continue") for asked in server.asked] == [None, ["a b"], ["c"]]
    assert all(asked.query["labelSelector"] == ["a=b,c"] for asked in server.asked)


def test_what_is_not_there_is_none_and_deleting_it_is_fine(server: ApiServer, api: KubernetesApi) -> None:
    server.says(404, "not found")
    assert api.get(JOBS, "team", "x") is None
    api.delete(JOBS, "team", "x")
    server.says(409, "the UID in the precondition does not match")
    api.delete(JOBS, "team", "x", uid="u", foreground=True)
    assert server.asked[-1].body == {"propagationPolicy": "Foreground", "preconditions": {"uid": "u"}}


def test_writes_say_what_they_are(server: ApiServer, api: KubernetesApi) -> None:
    body: Json = {"metadata": {"name": "x"}}
    api.create(JOBS, "team", body)
    api.apply(DEPLOYMENTS, "team", body, manager="me")
    api.patch(JOBS, "team", "x", {"spec": None})
    api.replace_status(DISTILLATIONS, "team", body)
    create, apply, patch, status = server.asked
    assert (create.method, create.path) == ("POST", "/apis/batch/v1/namespaces/team/jobs")
    assert create.body == {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
    assert (apply.method, apply.path) == ("PATCH", "/apis/apps/v1/namespaces/team/deployments/x")
    assert (apply.content_type, apply.query) == (
        "application/apply-patch+yaml",
        {"fieldManager": ["me"], "force": ["true"]},
    )
    assert (patch.content_type, patch.body) == ("application/merge-patch+json", {"spec": None})
    assert (status.method, status.path) == (
        "PUT",
        "/apis/stillhouse.dev/v1alpha1/namespaces/team/distillations/x/status",
    )


def test_a_log_is_followed_to_its_end_whatever_its_bytes_are(server: ApiServer, api: KubernetesApi) -> None:
    server.answers = [Answer(body="grün\n".encode() + b"\xff\n")]
    assert "".join(api.follow_log("team", "pod", container="stage")) == "grün\n\ufffd\n"
    assert api.logs("team", "pod", container="stage") == "grün\n\ufffd\n"
    assert server.asked[0].query == {"container": ["stage"], "follow": ["true"]}
    assert server.asked[1].query == {"container": ["stage"]}
