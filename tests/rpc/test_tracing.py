"""Traces: one Distillation is one trace across processes and calls; without an endpoint nothing is sent or imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import sample_service
from scripted_teacher import ScriptedTeacher, VirtualClock, after, answer, ask_all, paid, question
from stillhouse.artifacts.messages import message_json
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.traces import record_outcome
from stillhouse.controller.cluster.traces import trace_parent as distillation_trace
from stillhouse.controller.local import LocalBackend
from stillhouse.controller.plan import PlannedStep, StepState
from stillhouse.errors import Unavailable
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import ServerConfig, start_server
from stillhouse.rpc.tracing import configure_tracing, following, is_tracing, span, trace_id, trace_parent
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest
from stillhouse.v1.trainer_pb2_grpc import TrainerServiceStub
from trace_collector import TraceCollector, trace_collector

BODY = {
    "metadata": {"name": "first", "namespace": "team", "uid": "0af76519-16cd-43dd-8448-eb211c80319c", "generation": 3}
}
TRACE = "0af7651916cd43dd8448eb211c80319c"
METHOD = "stillhouse.v1.TrainerService/PrepareBase"


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as listening:
        yield listening
        configure_tracing("test", {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def run_job(name: str, store: Store, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    request = folder / f"{name}.json"
    request.write_text(json.dumps(packed(PrepareBaseRequest(name=name, store_uri=store.uri))))
    command = [sys.executable, "-m", "sample_service", "run", "--request", str(request)]
    environment = sample_service.environment(**variables)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def packed(request: PrepareBaseRequest) -> dict[str, object]:
    return {"@type": f"type.googleapis.com/{request.DESCRIPTOR.full_name}", **json.loads(message_json(request))}


def send(endpoint: str = "") -> None:
    """Traces from here on go there; what there is goes out first."""
    configure_tracing("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {})


def test_the_stages_of_a_distillation_are_spans_of_one_trace_below_its_own(
    collector: TraceCollector, store: Store, tmp_path: Path
) -> None:
    given = {"TRACEPARENT": distillation_trace(BODY), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    for name, code in [("finish", 0), ("invalid", 65)]:
        ran = run_job(name, store, tmp_path, **given)
        assert ran.returncode == code, ran.stderr
        assert {json.loads(line)["trace_id"] for line in ran.stderr.splitlines()} == {TRACE}
    send(collector.endpoint)
    status = {
        "steps": [{"name": "base", "startTime": "2026-01-01T00:00:00Z"}],
        "conditions": [{"type": "Succeeded", "reason": "GatesFailed"}],
    }
    record_outcome(BODY, status, end_seconds=1767225610.0)
    record_outcome({**BODY, "status": status}, status, end_seconds=1767225620.0)
    send()

    whole = collector.named("distillation first")
    assert (whole.trace_id, whole.span_id, whole.parent_id) == (TRACE, f"{3:016x}", "")
    assert whole.seconds == 10
    assert whole.attributes["stillhouse.outcome"] == "GatesFailed"
    done, failed = [found for found in collector.spans if found.name == "base"]
    assert {(stage.trace_id, stage.parent_id) for stage in (done, failed)} == {(TRACE, whole.span_id)}
    assert (done.failed, failed.failed) == (False, True)
    assert failed.attributes == {"stillhouse.stage": "base", "error.type": "InvalidArgument"}
    assert done.service == "sample_service"


def test_stages_of_a_run_on_this_machine_are_below_its_span(
    collector: TraceCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    send(collector.endpoint)
    backend = LocalBackend(tmp_path, f"file://{tmp_path}/store", slots=1, context_tokens=512)
    with span("distillation first", begins=True):
        for key in ("a" * 64, "b" * 64):
            request = BuildDatasetRequest()
            backend.start(PlannedStep(f"step-{key[0]}", "dataset_builder", "dataset", StepState.READY, key, request))
            while backend.observe()[key].running:
                time.sleep(0.05)
    send()
    whole = collector.named("distillation first")
    assert len([found for found in collector.spans if found.name == "dataset"]) == 2
    for name in ("step step-a", "step step-b"):
        stage = collector.named(name)
        (job,) = [found for found in collector.spans if found.parent_id == stage.span_id]
        assert (stage.trace_id, stage.parent_id, stage.failed) == (whole.trace_id, whole.span_id, True)
        assert (job.service, job.name, job.trace_id) == ("dataset_builder", "dataset", whole.trace_id)


def test_a_batch_call_its_server_and_its_job_are_one_trace(
    collector: TraceCollector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sample_service.environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint).items():
        monkeypatch.setenv(name, value)
    send(collector.endpoint)
    server = start_server(ServerConfig(port=0), sample_service.add_services)
    try:
        with span("asking") as asking, open_channel(server.address) as channel:
            list(TrainerServiceStub(channel).PrepareBase(PrepareBaseRequest(name="finish", store_uri=store.uri)))
            with pytest.raises(grpc.RpcError):
                list(TrainerServiceStub(channel).PrepareBase(PrepareBaseRequest(name="invalid", store_uri=store.uri)))
    finally:
        server.stop(0)
    send()
    assert {found.trace_id for found in collector.spans} == {asking.trace_parent[3:35]}
    parents = {found.span_id: found for found in collector.spans}
    jobs = [found for found in collector.spans if found.name == "base"]
    assert len(jobs) == 2
    for job in jobs:
        served = parents[job.parent_id]
        called = parents[served.parent_id]
        assert (served.name, called.name) == (METHOD, METHOD)
        assert parents[called.parent_id].name == "asking"
        assert served.failed is called.failed is job.failed
        code = 3 if job.failed else 0
        assert served.attributes["rpc.grpc.status_code"] == called.attributes["rpc.grpc.status_code"] == code


def test_a_teachers_call_is_a_span_with_model_and_tokens_and_nothing_that_was_said(
    collector: TraceCollector,
) -> None:
    clock = VirtualClock()
    teacher = ScriptedTeacher(after(clock, 1.0, answer("the secret answer", thinking_tokens=5)))
    send(collector.endpoint)
    with span("generate") as stage:
        clock.run(ask_all(paid(teacher, clock), question("the secret question")))
    send()
    (call,) = [found for found in collector.spans if found.parent_id]
    assert (call.trace_id, call.parent_id) == (stage.trace_parent[3:35], stage.trace_parent[36:52])
    assert call.attributes["gen_ai.usage.input_tokens"] == 10
    assert call.attributes["gen_ai.usage.output_tokens"] == 25
    assert call.name == f"chat {call.attributes['gen_ai.request.model']}"
    assert "secret" not in str(collector.spans)


def test_without_an_endpoint_nothing_is_imported_and_the_trace_is_still_in_the_log(
    store: Store, tmp_path: Path
) -> None:
    probe = (
        "import sys, sample_service\n"
        "from stillhouse.rpc.job import job_main\n"
        "code = job_main('sample', [sample_service.OPERATION], lambda argv: 0)\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus'))]\n"
        "sys.exit(code)\n"
    )
    request = tmp_path / "request.json"
    request.write_text(json.dumps(packed(PrepareBaseRequest(name="finish", store_uri=store.uri))))
    environment = sample_service.environment(TRACEPARENT=distillation_trace(BODY))
    environment.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
    ran = subprocess.run(
        [sys.executable, "-c", probe, "run", "--request", str(request)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert {json.loads(line)["trace_id"] for line in ran.stderr.splitlines()} == {TRACE}


def test_without_a_trace_log_lines_have_none(store: Store, tmp_path: Path) -> None:
    ran = run_job("finish", store, tmp_path, TRACEPARENT="no traceparent")
    assert not [line for line in ran.stderr.splitlines() if "trace_id" in json.loads(line)]


def test_a_collector_that_is_away_neither_fails_a_job_nor_keeps_it_long(store: Store, tmp_path: Path) -> None:
    started = time.monotonic()
    ran = run_job("finish", store, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert ran.returncode == 0
    assert time.monotonic() - started < 30
    assert [json.loads(line) for line in ran.stderr.splitlines()]


def test_a_missing_package_is_named_and_nothing_else_happens(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from stillhouse.rpc.logs import configure_logging\n"
        "from stillhouse.rpc.tracing import configure_tracing, span\n"
        "configure_logging('test')\n"
        "configure_tracing('test', {'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'})\n"
        "with span('work'): pass\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ})
    (line,) = ran.stderr.splitlines()
    assert "install stillhouse[tracing]" in json.loads(line)["event"]


@pytest.mark.parametrize("bad", ["", "00-x-y-01", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01", "ü"])
def test_a_bad_traceparent_is_none(bad: str) -> None:
    configure_tracing("test", {"TRACEPARENT": bad})
    assert (trace_parent(), trace_id(), is_tracing()) == ("", "", False)
    with span("work", parent=bad) as made:
        assert made.trace_parent == ""


def test_a_trace_that_begins_here_ends_with_its_block() -> None:
    with span("run", begins=True) as made:
        assert trace_id() == made.trace_parent[3:35] != ""
        with following(distillation_trace(BODY)):
            assert trace_id() == TRACE
        assert trace_id() != TRACE
    assert trace_id() == ""


def test_a_failure_is_raised_on() -> None:
    with pytest.raises(Unavailable), span("work"):
        raise Unavailable("away")
