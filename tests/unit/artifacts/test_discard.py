"""What a Distillation made goes with it, but for what others name."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from stillhouse.artifacts.discard import discard
from stillhouse.artifacts.store import Store
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.evaluator_pb2 import EvaluateResult


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def _made(store: Store, key: str, artifact: Artifact) -> tuple[str, str]:
    manifest = Manifest(stage="evaluate", key=key, result=AnyMessage())
    manifest.result.Pack(EvaluateResult(rows=artifact))
    store.commit_manifest(manifest)
    store.put_object(f"runs/{key}/progress.json", b"{}")
    return "evaluate", key


def test_manifests_progress_and_the_blobs_that_only_they_name_are_deleted(store: Store) -> None:
    own, shared = store.put_bytes(b"own", name="own"), store.put_bytes(b"shared", name="shared")
    first, second = _made(store, "1" * 64, own), _made(store, "2" * 64, shared)
    kept = _made(store, "3" * 64, shared)
    store.put_object("distillations/team.first/status.json", b"{}")
    gone = discard(store, [first, second], ["distillations/team.first"], older_than_seconds=0)
    assert (gone.blobs, gone.bytes) == (1, 3)
    assert [manifest.key for manifest in store.manifests()] == [kept[1]]
    assert store.has_blob(shared.sha256)
    assert not store.has_blob(own.sha256)
    assert list(store.list_objects("runs")) == [f"runs/{kept[1]}/progress.json"]
    assert list(store.list_objects("distillations")) == []


def test_a_blob_that_was_just_put_stays_for_the_collector(store: Store) -> None:
    own = store.put_bytes(b"own", name="own")
    gone = discard(store, [_made(store, "1" * 64, own)], [])
    assert gone.blobs == 0
    assert store.has_blob(own.sha256)


def test_asked_again_it_finds_nothing_to_do(store: Store) -> None:
    stage = _made(store, "1" * 64, store.put_bytes(b"own", name="own"))
    discard(store, [stage], [], older_than_seconds=0)
    assert discard(store, [stage], [], older_than_seconds=0).blobs == 0


def test_what_an_answer_names_stays(store: Store) -> None:
    own = store.put_bytes(b"own", name="own")
    store.put_object("answers/aa/1.json", own.sha256.encode())
    assert discard(store, [_made(store, "1" * 64, own)], [], older_than_seconds=0).blobs == 0
