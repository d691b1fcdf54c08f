from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message

from stillhouse.artifacts.messages import unpack_any
from stillhouse.artifacts.store import Store
from stillhouse.rpc.channel import open_channel
from stillhouse.v1.trainer_pb2 import TrainRequest, TrainResult
from stillhouse.v1.trainer_pb2_grpc import TrainerServiceStub
from training_fixture import synthesized_records, train_request

STARTUP_SECONDS = 120
STEPS = 24


def start(request: Message, directory: Path) -> subprocess.Popen[bytes]:
    packed = any_pb2.Any()
    packed.Pack(request)
    file = directory / "request.json"
    file.write_text(json_format.MessageToJson(packed))
    command = [sys.executable, "-W", "error", "-m", "stillhouse.trainer", "run", "--request", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STILLHOUSE_TERMINATION_LOG": str(directory / "status.json")}
    return subprocess.Popen(command, env=environment)


def checkpointed_step(store: Store) -> int:
    for path in store.list_objects("runs"):
        if path.endswith("checkpoint.json") and (data := store.read_object(path)) is not None:
            return int(json.loads(data)["step"])
    return 0


def result_of(store: Store) -> TrainResult:
    (manifest,) = (manifest for manifest in store.manifests() if manifest.stage == "train")
    result = unpack_any(manifest.result)
    assert isinstance(result, TrainResult)
    return result


def losses(store: Store, result: TrainResult) -> list[float]:
    return [json.loads(line)["loss"] for line in store.read_bytes(result.loss_curve).decode().splitlines()]


def long_request(store: Store) -> TrainRequest:
    request = train_request(store, synthesized_records(4), None, epochs=STEPS // 2, dropout=0.1, micro_batch_size=1)
    request.checkpoint_seconds = 1
    return request


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], list[str]]:
    """Losses and adapter digests of the long request, trained without a stop."""
    directory = tmp_path_factory.mktemp("undisturbed")
    store = Store.open(str(directory / "store"))
    assert start(long_request(store), directory).wait(timeout=300) == 0
    result = result_of(store)
    return losses(store, result), [file.sha256 for file in result.adapter.files]


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_job_that_is_stopped_or_killed_goes_on_where_it_was(
    tmp_path: Path, undisturbed: tuple[list[float], list[str]], stop: signal.Signals, code: int
) -> None:
    store = Store.open(str(tmp_path / "store"))
    process = start(long_request(store), tmp_path)
    deadline = time.monotonic() + STARTUP_SECONDS
    while checkpointed_step(store) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(stop)

    assert process.wait(timeout=60) == code
    assert 2 <= checkpointed_step(store) < STEPS
    assert start(long_request(store), tmp_path).wait(timeout=300) == 0
    resumed = result_of(store)
    assert not [path for path in store.list_objects("runs") if "checkpoint" in path]
    assert losses(store, resumed) == pytest.approx(undisturbed[0], abs=1e-6)
    assert [file.sha256 for file in resumed.adapter.files] == undisturbed[1]


def test_a_wrong_option_ends_the_job_as_permanent_with_the_field_in_its_status(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    request = train_request(store, synthesized_records(1), None)
    request.training.schedule = "cosinus"

    assert start(request, tmp_path).wait(timeout=120) == 65

    status = (tmp_path / "status.json").read_text()
    assert "training.schedule" in status
    assert "cosine, linear, constant" in status


def test_training_over_the_network_streams_progress_and_ends_with_the_result(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    request = train_request(store, synthesized_records(2), None)
    command = [sys.executable, "-m", "stillhouse.trainer", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        address = next(_address(line) for line in server.stdout if "127.0.0.1:" in line)
        with open_channel(address) as channel:
            responses = list(TrainerServiceStub(channel).Train(request, timeout=300))
    finally:
        server.terminate()
        server.communicate(timeout=60)

    assert responses[-1].result.steps == 1
    assert [file.name for file in responses[-1].result.adapter.files][-1] == "adapter_model.safetensors"
    assert all(response.WhichOneof("event") == "progress" for response in responses[:-1])


def _address(line: str) -> str:
    return "127.0.0.1:" + line.split("127.0.0.1:")[1].split('"')[0].split()[0].rstrip(",}")
