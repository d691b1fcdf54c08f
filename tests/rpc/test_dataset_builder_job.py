"""The data set stage as its runner starts it and over the network: manifests, exit codes, equal bytes after a stop."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import leaf_metrics
from job_process import start_job
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.store import Store
from stillhouse.dataset_builder.__main__ import BUILD, add_services
from stillhouse.roles.role import load_role
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import ServerConfig, start_server
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult, DatasetImport
from stillhouse.v1.dataset_builder_pb2_grpc import DatasetBuilderServiceStub
from waiting import wait_until

VISION = """\
product_name: Rooms {number}
product_summary: A page on which guests book a room in a small hotel without a call.
target_users: [Guests]
value_proposition: [No calls]
key_capabilities: [Booking]
non_goals: []
success_metrics: [Bookings a day]
last_updated: '2025-01-01'
"""
REVIEW = """\
status: aligned
summary: [All requirements serve the vision.]
requirements_alignment: {aligned: ['FR001: guests can book a room'], gaps: [], conflicts: []}
recommended_actions: [Agree on the deposit.]
narrative: The one requirement is what the vision promises to guests of the hotel.
"""


def rows(count: int) -> bytes:
    lines = [
        {
            "concept": f"Booking page {number}",
            "requirements_yaml": "functional_requirements:\n- id: FR001\n  description: Guests can book a room\n",
            "product_vision": VISION.format(number=number),
            "product_owner_review": REVIEW,
        }
        for number in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def request_in(store: Store, data: bytes, **fields: object) -> BuildDatasetRequest:
    wanted = {"train_fraction": 0.7, "validation_fraction": 0.15, "seed": 1, "min_records": 1, **fields}
    return BuildDatasetRequest(
        role=RoleReference(name="product_owner", version=load_role("product_owner").version),
        imports=[DatasetImport(rows=store.put_bytes(data, name="rows.jsonl"))],
        store_uri=store.uri,
        **wanted,
    )


def start(request: BuildDatasetRequest, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    return start_job("stillhouse.dataset_builder", request, folder, **environment)


def result_of(store: Store, request: BuildDatasetRequest) -> BuildDatasetResult:
    manifest = store.read_manifest(BUILD.stage, request_key(BUILD.stage, BUILD.logic_version, request))
    assert manifest is not None
    result = BuildDatasetResult()
    assert manifest.result.Unpack(result)
    return result


def test_a_job_commits_a_manifest_and_exits_with_0(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    request = request_in(store, rows(20))
    assert start(request, tmp_path).wait(120) == 0
    result = result_of(store, request)
    assert (result.train_records, result.tuning_records, result.validation_records) == (14, 3, 3)


def test_bad_rows_exit_with_65_and_a_status_that_names_file_and_line(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    assert start(request_in(store, rows(1) + b"{broken\n"), tmp_path).wait(120) == 65
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "rows.jsonl:2 is not JSON" in status["message"]


def test_a_terminated_job_exits_with_143_and_the_next_makes_what_an_undisturbed_one_makes(tmp_path: Path) -> None:
    disturbed, undisturbed = (Store.open(str(tmp_path / name)) for name in ("disturbed", "undisturbed"))
    data, hold = rows(400), tmp_path / "hold"
    environ = {"STILLHOUSE_TEST_HOLD": str(hold), "PYTHONPATH": str(Path(leaf_metrics.__file__).parent)}
    request = request_in(disturbed, data, metric="leaf_metrics:held")
    hold.touch()
    process = start(request, tmp_path, **environ)
    run = tmp_path / "disturbed" / "runs" / request_key(BUILD.stage, BUILD.logic_version, request)
    wait_until((run / "progress.json").exists, "the job reports progress")
    process.send_signal(signal.SIGTERM)
    hold.unlink()
    assert process.wait(60) == 143
    assert disturbed.read_manifest(BUILD.stage, run.name) is None
    assert start(request, tmp_path, **environ).wait(120) == 0
    other = request_in(undisturbed, data, metric="leaf_metrics:held")
    assert start(other, tmp_path, **environ).wait(120) == 0
    found, wanted = result_of(disturbed, request), result_of(undisturbed, other)
    assert [found.train.sha256, found.tuning.sha256, found.validation.sha256] == [
        wanted.train.sha256,
        wanted.tuning.sha256,
        wanted.validation.sha256,
    ]


@pytest.fixture
def stub() -> Iterator[DatasetBuilderServiceStub]:
    server = start_server(ServerConfig(port=0), add_services)
    channel = open_channel(server.address)
    try:
        yield DatasetBuilderServiceStub(channel)
    finally:
        channel.close()
        server.stop(0)


def test_over_the_network_the_last_message_is_the_result_that_the_job_commits(
    stub: DatasetBuilderServiceStub, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "store"))
    request = request_in(store, rows(20))
    responses = list(stub.BuildDataset(request, timeout=120))
    assert responses[-1].WhichOneof("event") == "result"
    assert responses[-1].result == result_of(store, request)


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"metric": "os:getcwd"}, grpc.StatusCode.PERMISSION_DENIED, "STILLHOUSE_ALLOW_CUSTOM_METRIC"),
        ({"min_records": 100}, grpc.StatusCode.FAILED_PRECONDITION, "fewer than min_records 100 (5 read, 5 kept)"),
        ({"guards": ["none_such"]}, grpc.StatusCode.INVALID_ARGUMENT, "no guard 'none_such'"),
    ],
)
def test_over_the_network_a_failure_has_its_code_and_message(stub, tmp_path: Path, fields, code, said) -> None:
    request = request_in(Store.open(str(tmp_path / "store")), rows(5), **fields)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.BuildDataset(request, timeout=120))
    assert caught.value.code() is code
    assert said in caught.value.details()
