"""A server as every service has it: health, reflection, rich errors, drain."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import sample_service
from stillhouse.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermanentError,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import RunningServer, ServerConfig, start_server
from stillhouse.rpc.status import error_from_rpc
from stillhouse.v1 import scorer_pb2, scorer_pb2_grpc
from waiting import wait_until

NAME = "stillhouse.v1.ScorerService"
ERRORS = {
    "invalid": lambda: InvalidArgument("no such role", field="role"),
    "loss": lambda: DataLoss("blob abc is broken"),
    "away": lambda: Unavailable("the store can't be reached"),
    "full": lambda: ResourceExhausted("all slots are taken", retry_after_seconds=2.0),
    "bug": lambda: KeyError("swordfish"),
}


class SlowScorer(scorer_pb2_grpc.ScorerServiceServicer):
    """Answers, fails or waits as the role's name says."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.calls = 0

    def Score(self, request, context):
        self.calls += 1
        if request.role == "slow":
            self.entered.set()
            self.release.wait(20)
        elif request.role == "abort":
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "by hand")
        elif request.role in ERRORS:
            raise ERRORS[request.role]()
        return scorer_pb2.ScoreResponse()

    def StreamScore(self, request_iterator, context):
        for request in request_iterator:
            if request.role in ERRORS:
                raise ERRORS[request.role]()
            yield scorer_pb2.StreamScoreResponse()


@pytest.fixture
def scorer() -> SlowScorer:
    return SlowScorer()


@pytest.fixture
def server(scorer: SlowScorer) -> Iterator[RunningServer]:
    running = start_server(ServerConfig(port=0, workers=4), adding(scorer))
    yield running
    scorer.release.set()
    running.stop(0)


@pytest.fixture
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with open_channel(server.address) as opened:
        yield opened


def adding(scorer: SlowScorer):
    def add(server: grpc.Server) -> list[str]:
        scorer_pb2_grpc.add_ScorerServiceServicer_to_server(scorer, server)
        return [NAME]

    return add


def score(channel: grpc.Channel, role: str, timeout: float = 10) -> scorer_pb2.ScoreResponse:
    return scorer_pb2_grpc.ScorerServiceStub(channel).Score(scorer_pb2.ScoreRequest(role=role), timeout=timeout)


def health(channel: grpc.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


def failure(channel: grpc.Channel, role: str, timeout: float = 10) -> StillhouseError:
    with pytest.raises(grpc.RpcError) as caught:
        score(channel, role, timeout)
    return error_from_rpc(caught.value, address="scorer:1")


def test_a_call_is_answered(channel: grpc.Channel) -> None:
    assert score(channel, "fine") == scorer_pb2.ScoreResponse()


@pytest.mark.parametrize("service", ["", NAME])
def test_health_says_serving_for_the_server_and_its_service(channel: grpc.Channel, service: str) -> None:
    assert health(channel, service) == health_pb2.HealthCheckResponse.SERVING


def test_a_server_that_still_loads_is_not_serving(scorer: SlowScorer) -> None:
    server = start_server(ServerConfig(port=0), adding(scorer), serving=False)
    try:
        with open_channel(server.address) as channel:
            assert health(channel, NAME) == health_pb2.HealthCheckResponse.NOT_SERVING
            server.set_serving(True)
            assert health(channel, NAME) == health_pb2.HealthCheckResponse.SERVING
    finally:
        server.stop(0)


def test_reflection_tells_services_and_their_methods(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert NAME in database.get_services()
    service = DescriptorPool(database).FindServiceByName(NAME)
    assert "StreamScore" in service.methods_by_name


def test_an_error_arrives_as_it_was_raised(channel: grpc.Channel) -> None:
    error = failure(channel, "invalid")
    assert type(error) is InvalidArgument
    assert (error.message, error.field) == ("no such role", "role")
    assert type(failure(channel, "loss")) is DataLoss
    full = failure(channel, "full")
    assert isinstance(full, ResourceExhausted)
    assert full.retry_after_seconds == 2.0


def test_an_error_in_a_stream_arrives_behind_the_answers_before_it(channel: grpc.Channel) -> None:
    stub = scorer_pb2_grpc.ScorerServiceStub(channel)
    requests = [scorer_pb2.StreamScoreRequest(role=role) for role in ("fine", "fine", "invalid")]
    answers = stub.StreamScore(iter(requests), timeout=10)
    assert next(answers) == scorer_pb2.StreamScoreResponse()
    assert next(answers) == scorer_pb2.StreamScoreResponse()
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert type(error_from_rpc(caught.value, address="scorer:1")) is InvalidArgument


def test_what_a_method_answers_is_not_tried_again_by_the_channel(channel: grpc.Channel, scorer: SlowScorer) -> None:
    assert type(failure(channel, "away")) is Unavailable
    assert scorer.calls == 1


def test_an_unexpected_error_keeps_its_text_to_itself(channel: grpc.Channel) -> None:
    error = failure(channel, "bug")
    assert type(error) is PermanentError
    assert "swordfish" not in error.message


def test_what_a_servicer_aborts_by_hand_stays_as_it_is(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        score(channel, "abort")
    assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
    assert caught.value.details() == "by hand"


def test_a_deadline_that_passes_is_a_temporary_error(channel: grpc.Channel) -> None:
    error = failure(channel, "slow", timeout=0.2)
    assert type(error) is DeadlineExceeded
    assert "scorer:1" in error.message


def test_an_unreachable_server_is_named_with_the_remedy() -> None:
    with open_channel("127.0.0.1:9") as channel, pytest.raises(grpc.RpcError) as caught:
        score(channel, "fine")
    error = error_from_rpc(caught.value, address="127.0.0.1:9")
    assert type(error) is Unavailable
    assert "can't reach 127.0.0.1:9" in error.message


def test_a_message_that_is_too_large_is_refused(scorer: SlowScorer) -> None:
    server = start_server(ServerConfig(port=0, max_message_bytes=1000), adding(scorer))
    try:
        with open_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
            score(channel, "x" * 2000)
        assert type(error_from_rpc(caught.value, address="x")) is ResourceExhausted
    finally:
        server.stop(0)


def test_a_port_in_use_is_refused(server: RunningServer, scorer: SlowScorer) -> None:
    with pytest.raises(FailedPrecondition, match=f"127.0.0.1:{server.port}.*in use.*--port"):
        start_server(ServerConfig(port=server.port), adding(scorer))


def is_refused(address: str) -> bool:
    try:
        with open_channel(address) as channel:
            score(channel, "fine", timeout=2)
    except grpc.RpcError:
        return True
    return False


def test_draining_finishes_calls_in_flight_and_takes_no_new_ones(
    server: RunningServer, scorer: SlowScorer, channel: grpc.Channel
) -> None:
    stub = scorer_pb2_grpc.ScorerServiceStub(channel)
    call = stub.Score.future(scorer_pb2.ScoreRequest(role="slow"), timeout=20)
    assert scorer.entered.wait(10)
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME), timeout=20)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    stopper = threading.Thread(target=server.stop, args=(20,))
    stopper.start()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    # The status is told first: a call may come in between.
    wait_until(lambda: is_refused(server.address), "a new call is refused")
    assert not call.done()
    scorer.release.set()
    assert call.result() == scorer_pb2.ScoreResponse()
    stopper.join(20)
    assert not stopper.is_alive()
    server.set_serving(True)
    server.wait()


def test_draining_cancels_what_takes_too_long(server: RunningServer, scorer: SlowScorer, channel: grpc.Channel) -> None:
    call = scorer_pb2_grpc.ScorerServiceStub(channel).Score.future(scorer_pb2.ScoreRequest(role="slow"), timeout=20)
    assert scorer.entered.wait(10)
    server.stop(0.2)
    assert call.exception() is not None


def serve(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sample_service", "serve", *arguments],
        env=sample_service.environment(**variables),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_served_process_drains_on_a_signal(number: signal.Signals, code: int) -> None:
    with serve("--port", "0") as process:
        assert process.stderr is not None
        assert '"event": "serving"' in process.stderr.readline()
        process.send_signal(number)
        _, log = process.communicate(timeout=30)
    assert process.returncode == code
    assert '"event": "draining"' in log
    assert '"event": "stopped"' in log


def test_a_served_process_whose_runner_is_gone_stops() -> None:
    with serve("--port", "0", STILLHOUSE_WATCH_STDIN="1") as process:
        assert process.stderr is not None
        assert '"event": "serving"' in process.stderr.readline()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--host", "0.0.0.0", "--port", "0"), 2, "refusing to serve plain text on 0.0.0.0"),
        (("--tls-certificate", "/absent.pem", "--tls-key", "/absent.pem"), 65, "/absent.pem"),
        (("--port", "x"), 2, "invalid int value"),
    ],
)
def test_a_server_that_may_not_start_says_why(arguments: tuple[str, ...], code: int, text: str) -> None:
    with serve(*arguments) as process:
        _, log = process.communicate(timeout=30)
    assert process.returncode == code
    assert text in log
