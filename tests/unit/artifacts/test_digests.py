"""Canonical JSON and request keys. The pinned digests may only change together with a logic_version."""

from __future__ import annotations

import json
import math

import pytest
from google.protobuf import any_pb2, struct_pb2

from stillhouse.artifacts.digests import canonical_json, decimal_text, request_key, without_execution_fields
from stillhouse.errors import InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_ROLE_GRAMMAR, EvaluateRequest, Gate
from stillhouse.v1.student_inference_pb2 import Constraint, SamplingParameters
from stillhouse.v1.trainer_pb2 import Lora, PrepareBaseRequest, Training, TrainRequest

SHA_A = "a" * 64
SHA_B = "b" * 64


def train_request() -> TrainRequest:
    request = TrainRequest(
        base=ArtifactSet(files=[Artifact(name="config.json", sha256=SHA_A)]),
        train=Artifact(name="train.jsonl", sha256=SHA_B),
        lora=Lora(rank=32, alpha=64, target_modules=["q_proj", "v_proj"]),
        training=Training(epochs=3, learning_rate=2e-4, seed=2**62),
    )
    request.role.name = "product_owner"
    request.role.version = 1
    return request


def test_canonical_json_prints_every_field_in_order() -> None:
    text = canonical_json(PrepareBaseRequest(name="builtin:tiny"))
    assert text == b'{"directory":null,"name":"builtin:tiny","revision":""}'


def test_canonical_json_of_a_nested_request_is_pinned() -> None:
    text = canonical_json(train_request()).decode()
    assert text == (
        '{"base":{"files":[{"name":"config.json","sha256":"' + SHA_A + '"}]},'
        '"lora":{"alpha":64,"dropout":"0","rank":32,"target_modules":["q_proj","v_proj"],"use_rslora":false},'
        '"role":{"name":"product_owner","version":1},'
        '"train":{"name":"train.jsonl","sha256":"' + SHA_B + '"},'
        '"training":{"batch_size":0,"epochs":3,"evaluations_per_epoch":0,"gradient_checkpointing":false,'
        '"learning_rate":"0.0002","max_gradient_norm":"0","max_length":0,"max_steps":0,"micro_batch_size":0,'
        '"precision":"","schedule":"","seed":"4611686018427387904","warmup_fraction":"0","weight_decay":"0"},'
        '"tuning":null}'
    )


@pytest.mark.parametrize(
    ("stage", "request_message", "key"),
    [
        (
            "base",
            PrepareBaseRequest(name="builtin:tiny"),
            "0f6b7a0a78d542a2a17cf0a823484e82528e4365d42e565720760ef00262854d",
        ),
        ("train", train_request(), "b902110042f918bb8941fe5eb31a70d52de0677fb31264dc6613c6e6a12952d6"),
        (
            "evaluate",
            EvaluateRequest(constraint=CONSTRAINT_KIND_ROLE_GRAMMAR, gates=[Gate(figure="gap", max=0.1)]),
            "c8a89cc93d5f55be7b83e87747b02718e8d8d730595c51fb715ba6964fa640f9",
        ),
    ],
)
def test_request_keys_are_pinned(stage: str, request_message: object, key: str) -> None:
    assert request_key(stage, 1, request_message) == key  # type: ignore[arg-type]


def test_the_key_depends_on_stage_version_and_request() -> None:
    request = PrepareBaseRequest(name="builtin:tiny")
    keys = {
        request_key("base", 1, request),
        request_key("other", 1, request),
        request_key("base", 2, request),
        request_key("base", 1, PrepareBaseRequest(name="builtin:tiny", revision="main")),
    }
    assert len(keys) == 4


def test_two_spellings_of_one_number_have_one_key() -> None:
    first, second = train_request(), train_request()
    first.training.learning_rate = float("2e-4")
    second.training.learning_rate = float("0.0002")
    assert request_key("train", 1, first) == request_key("train", 1, second)


def test_where_and_how_a_request_runs_does_not_change_its_key() -> None:
    plain, elsewhere = train_request(), train_request()
    elsewhere.store_uri = "s3://bucket/prefix"
    elsewhere.checkpoint_seconds = 7
    elsewhere.train.size_bytes = 12
    elsewhere.train.media_type = "application/jsonl"
    elsewhere.base.files[0].producer_key = "c" * 64
    assert request_key("train", 1, plain) == request_key("train", 1, elsewhere)


def test_the_bytes_of_an_input_change_the_key() -> None:
    other = train_request()
    other.train.sha256 = "c" * 64
    assert request_key("train", 1, other) != request_key("train", 1, train_request())


def test_an_absent_message_and_an_empty_one_differ() -> None:
    empty = train_request()
    empty.tuning.SetInParent()
    assert canonical_json(empty) != canonical_json(train_request())


def test_an_optional_field_set_to_zero_is_not_an_unset_one() -> None:
    assert json.loads(canonical_json(Gate(figure="gap", max=0.0))) == {"figure": "gap", "max": "0", "min": None}


def test_unset_members_of_a_oneof_are_null() -> None:
    tree = json.loads(canonical_json(Constraint(regex="a+")))
    assert tree == {"role_grammar": None, "json_schema": None, "regex": "a+", "grammar": None}


def test_enums_are_named_and_maps_sorted() -> None:
    tree = canonical_json(EvaluateRequest(constraint=CONSTRAINT_KIND_ROLE_GRAMMAR)).decode()
    assert '"constraint":"CONSTRAINT_KIND_ROLE_GRAMMAR"' in tree
    result = BuildDatasetResult(refused_by_reason={"low_score": 2, "duplicate": 1})
    assert '"refused_by_reason":{"duplicate":"1","low_score":"2"}' in canonical_json(result).decode()


def test_an_enum_value_of_a_newer_version_is_its_number() -> None:
    request = EvaluateRequest()
    request.constraint = 99  # type: ignore[assignment]
    assert '"constraint":99' in canonical_json(request).decode()


def test_the_message_in_an_any_counts_with_its_type() -> None:
    manifest = Manifest()
    manifest.request.Pack(PrepareBaseRequest(name="builtin:tiny", store_uri="memory://x"))
    tree = json.loads(canonical_json(manifest))
    assert tree["request"]["type"] == "stillhouse.v1.PrepareBaseRequest"
    assert tree["request"]["value"] == {"name": "builtin:tiny", "revision": "", "directory": None}


def test_a_struct_is_canonical_whatever_the_order_of_its_keys() -> None:
    first, second = struct_pb2.Struct(), struct_pb2.Struct()
    first.update({"a": 1, "b": [True, None]})
    second.update({"b": [True, None], "a": 1})
    assert canonical_json(BuildDatasetResult(statistics=first)) == canonical_json(BuildDatasetResult(statistics=second))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_with_their_path(value: float) -> None:
    request = train_request()
    request.training.learning_rate = value
    with pytest.raises(InvalidArgument, match=r"training\.learning_rate") as caught:
        request_key("train", 1, request)
    assert caught.value.field == "training.learning_rate"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (100.0, "100"),
        (2e-4, "0.0002"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-1.5, "-1.5"),
        (1e22, "10000000000000000000000"),
        (5e-324, "0." + "0" * 323 + "5"),
    ],
)
def test_decimals_are_the_shortest_that_read_back(value: float, text: str) -> None:
    assert decimal_text(value) == text
    assert float(text) == value


def test_an_any_of_an_unknown_type_is_refused() -> None:
    manifest = Manifest(request=any_pb2.Any(type_url="type.googleapis.com/stillhouse.v1.Unheard", value=b""))
    with pytest.raises(InvalidArgument, match=r"stillhouse\.v1\.Unheard"):
        canonical_json(manifest)


def test_a_copy_without_execution_fields_keeps_the_lineage_and_the_original() -> None:
    request = train_request()
    request.store_uri = "s3://bucket"
    request.train.producer_key = "c" * 64
    copy = without_execution_fields(request)
    assert copy.store_uri == ""
    assert copy.train.producer_key == "c" * 64
    assert request.store_uri == "s3://bucket"
    assert request_key("train", 1, copy) == request_key("train", 1, request)


def test_execution_fields_inside_lists_and_any_are_cleared() -> None:
    manifest = Manifest()
    manifest.request.Pack(BuildDatasetRequest(store_uri="s3://bucket", seed=3))
    inner = BuildDatasetRequest()
    without_execution_fields(manifest).request.Unpack(inner)
    assert (inner.store_uri, inner.seed) == ("", 3)


def test_sampling_parameters_keep_what_was_not_set_apart_from_zero() -> None:
    assert canonical_json(SamplingParameters()) != canonical_json(SamplingParameters(temperature=0.0))
