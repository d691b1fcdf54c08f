"""Manifests commit once; named objects are overwritten; URIs have one spelling."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, TrainResult

KEY = "a" * 64


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store") if request.param == "file" else f"memory://{tmp_path}")


def manifest(version: str = "1", key: str = KEY) -> Manifest:
    made = Manifest(stage="train", key=key, logic_version=1, stillhouse_version=version, seconds=1.5)
    made.request.Pack(PrepareBaseRequest(name="builtin:tiny"))
    made.result.Pack(TrainResult(loss_curve=Artifact(name="loss.jsonl", sha256="b" * 64), steps=3))
    return made


def test_a_manifest_is_read_as_it_was_committed(store: Store) -> None:
    assert store.read_manifest("train", KEY) is None
    assert store.commit_manifest(manifest()) == manifest()
    assert store.read_manifest("train", KEY) == manifest()
    assert list(store.list_objects("stages")) == [f"stages/train/{KEY}/manifest.json"]


def test_the_loser_of_a_race_gets_the_winners_manifest(store: Store) -> None:
    store.commit_manifest(manifest("first"))
    assert store.commit_manifest(manifest("second")) == manifest("first")


def test_of_eight_racing_commits_one_wins_and_all_agree(store: Store) -> None:
    agreed: list[str] = []
    start = threading.Barrier(8)

    def commit(number: int) -> None:
        start.wait()
        agreed.append(store.commit_manifest(manifest(str(number))).stillhouse_version)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(agreed) == 8
    assert len(set(agreed)) == 1


def test_manifests_are_listed_by_stage_and_key(store: Store) -> None:
    for letter in "ba":
        store.commit_manifest(manifest(key=letter * 64))
    assert [found.key[0] for found in store.manifests()] == ["a", "b"]


def test_a_broken_manifest_is_named(store: Store) -> None:
    store.put_object(f"stages/train/{KEY}/manifest.json", b"{")
    with pytest.raises(DataLoss, match=rf"stages/train/{KEY}/manifest.json.*delete it"):
        store.read_manifest("train", KEY)


def test_a_manifest_in_anothers_place_is_refused(store: Store) -> None:
    store.put_object(f"stages/train/{'c' * 64}/manifest.json", b'{"stage": "train", "key": "d"}')
    with pytest.raises(DataLoss, match="manifest of train/d"):
        store.read_manifest("train", "c" * 64)


def test_objects_are_overwritten_listed_and_deleted(store: Store) -> None:
    store.put_object("runs/a/progress.json", b"1")
    store.put_object("runs/a/progress.json", b"2")
    store.put_object("runs/ab/progress.json", b"3")
    assert store.read_object("runs/a/progress.json") == b"2"
    assert list(store.list_objects("runs/a")) == ["runs/a/progress.json"]
    assert list(store.list_objects("runs/")) == ["runs/a/progress.json", "runs/ab/progress.json"]
    store.delete_object("runs/a/progress.json")
    store.delete_object("runs/a/progress.json")
    assert store.read_object("runs/a/progress.json") is None


def test_an_object_is_written_once_if_absent(store: Store) -> None:
    assert store.put_object_if_absent("distillations/x/y.json", b"1")
    assert not store.put_object_if_absent("distillations/x/y.json", b"2")
    assert store.read_object("distillations/x/y.json") == b"1"


@pytest.mark.parametrize("path", ["", "/runs/x", "runs/../x", "blobs/sha256/x", "runs//x"])
def test_paths_that_are_not_an_objects_are_refused(store: Store, path: str) -> None:
    with pytest.raises(InvalidArgument):
        store.put_object(path, b"")


def test_a_bare_path_is_a_file_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.open("store").uri == f"file://{tmp_path}/store"
    assert Store.open(f"file://{tmp_path}/a/../store/").uri == f"file://{tmp_path}/store"


def test_a_path_with_spaces_and_signs_works(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "a b#c%20d?e ü"))
    store.put_object("runs/x", b"1")
    assert (tmp_path / "a b#c%20d?e ü" / "runs" / "x").read_bytes() == b"1"
    assert Store.open(store.uri).read_object("runs/x") == b"1"


def test_a_memory_store_is_one_by_name(tmp_path: Path) -> None:
    Store.open(f"memory://{tmp_path}-x").put_object("runs/x", b"1")
    assert Store.open(f"memory://{tmp_path}-x").read_object("runs/x") == b"1"
    assert Store.open(f"memory://{tmp_path}-y").read_object("runs/x") is None


@pytest.mark.parametrize(
    "uri", ["", "ftp://host/x", "s3://", "file://host/x", "s3://key:secret@bucket/x", "s3://bucket?secret=1"]
)
def test_uris_that_name_no_store_are_refused_without_repeating_a_secret(uri: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Store.open(uri)
    assert caught.value.field == "store"
    assert "secret" not in caught.value.message
