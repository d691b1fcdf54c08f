"""The scorer on a real server on localhost: verdicts, streams, and its errors' codes and details."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from stillhouse.roles.role import load_role
from stillhouse.roles.scoring import score_record
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import ServerConfig, start_server
from stillhouse.scorer.scoring import ScoringLimits
from stillhouse.scorer.servicer import ScorerServicer
from stillhouse.v1.record_pb2 import Record
from stillhouse.v1.scorer_pb2 import ScoreRequest, StreamScoreRequest
from stillhouse.v1.scorer_pb2_grpc import ScorerServiceStub, add_ScorerServiceServicer_to_server

INPUTS = {
    "concept": "A booking page",
    "requirements_yaml": "functional_requirements:\n- id: FR001\n  description: Book a room\n",
}
OUTPUTS = {
    "product_vision": "product_name: Rooms\ntarget_users:\n- Guests\n",
    "product_owner_review": "status: aligned\nsummary:\n- FR001 is covered\nrecommended_actions:\n- None\n",
}


@pytest.fixture
def stub() -> Iterator[ScorerServiceStub]:
    def add_services(server: grpc.Server) -> list[str]:
        limits = ScoringLimits(max_text_characters=10_000, allow_custom_metric=False)
        add_ScorerServiceServicer_to_server(ScorerServicer(limits), server)
        return ["stillhouse.v1.ScorerService"]

    server = start_server(ServerConfig(port=0), add_services)
    channel = open_channel(server.address)
    try:
        yield ScorerServiceStub(channel)
    finally:
        channel.close()
        server.stop(0)


def test_a_record_is_scored_as_in_process(stub: ScorerServiceStub) -> None:
    record = Record(inputs=INPUTS, outputs=OUTPUTS)
    found = stub.Score(ScoreRequest(role="product_owner", record=record), timeout=30).score
    wanted = score_record(load_role("product_owner"), INPUTS, outputs=OUTPUTS)
    assert found.score == wanted.score > 0
    assert dict(found.parts) == dict(wanted.parts)
    assert len(found.parts) == 4
    assert not found.valid
    assert list(found.problems) == list(wanted.problems)
    assert [(guard.guard, guard.reason) for guard in found.guards] == [(g.guard, g.reason) for g in wanted.guards]


def test_a_raw_response_is_read(stub: ScorerServiceStub) -> None:
    response = "\n".join(
        f"```yaml {label}\n{OUTPUTS[name]}```"
        for label, name in [("VISION", "product_vision"), ("REVIEW", "product_owner_review")]
    )
    record = Record(inputs=INPUTS, response=response)
    found = stub.Score(ScoreRequest(role="product_owner", record=record), timeout=30).score
    assert found.score == score_record(load_role("product_owner"), INPUTS, outputs=OUTPUTS).score


def test_a_stream_is_answered_in_order_until_the_first_bad_request(stub: ScorerServiceStub) -> None:
    good = StreamScoreRequest(role="product_owner", record=Record(inputs=INPUTS, outputs=OUTPUTS))
    empty = StreamScoreRequest(role="product_owner", record=Record(inputs=INPUTS))
    scores = [found.score.score for found in stub.StreamScore(iter([good, empty, good]), timeout=30)]
    assert scores[0] == scores[2] > scores[1]
    answers = stub.StreamScore(iter([good, StreamScoreRequest(role="no_such"), good]), timeout=30)
    assert next(answers).score.score == scores[0]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (ScoreRequest(role="no_such"), grpc.StatusCode.INVALID_ARGUMENT, "role"),
        (ScoreRequest(role="product_owner"), grpc.StatusCode.INVALID_ARGUMENT, "record.inputs.concept"),
        (
            ScoreRequest(role="product_owner", record=Record(inputs=INPUTS, response="x" * 10_001)),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            None,
        ),
        (
            ScoreRequest(role="product_owner", record=Record(inputs=INPUTS), metric="os:getcwd"),
            grpc.StatusCode.PERMISSION_DENIED,
            None,
        ),
    ],
)
def test_a_bad_request_has_its_code_reason_and_field(stub, request_, code, field) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(request_, timeout=30)
    assert caught.value.code() is code
    status = rpc_status.from_call(caught.value)
    info, request_info = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    kinds = [detail for detail in status.details if detail.Unpack(info)]
    assert len(kinds) == 1
    assert info.domain == "stillhouse.dev"
    if field is not None:
        assert any(detail.Unpack(request_info) for detail in status.details)
        assert request_info.field_violations[0].field == field
