"""The collector deletes what nothing names, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.artifacts.checkpoints import CheckpointFiles
from stillhouse.artifacts.collect import Collected, collect
from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.trainer_pb2 import TrainResult


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return Store.open(str(root))


def old_blob(store: Store, root: Path, text: str) -> Artifact:
    artifact = store.put_bytes(text.encode(), name=text)
    os.utime(root / "blobs/sha256" / artifact.sha256, (time.time() - 90_000,) * 2)
    return artifact


def test_blobs_that_nothing_names_are_deleted_when_they_are_old(store: Store, root: Path) -> None:
    old = old_blob(store, root, "orphan")
    young = store.put_bytes(b"young", name="young")
    assert collect(store) == Collected(blobs=1, bytes=6)
    assert not store.has_blob(old.sha256)
    assert store.has_blob(young.sha256)


def test_a_dry_run_deletes_nothing(store: Store, root: Path) -> None:
    old = old_blob(store, root, "orphan")
    assert collect(store, dry_run=True) == Collected(blobs=1, bytes=6)
    assert store.has_blob(old.sha256)


def test_what_a_manifest_a_checkpoint_an_answer_or_a_distillation_names_is_spared(store: Store, root: Path) -> None:
    named = [old_blob(store, root, text) for text in ("manifest", "checkpoint", "answer", "distillation")]
    manifest = Manifest(stage="train", key="a" * 64)
    manifest.result.Pack(TrainResult(loss_curve=named[0]))
    store.commit_manifest(manifest)
    store.put_object("runs/k/checkpoint.json", f'{{"artifacts": [{{"sha256": "{named[1].sha256}"}}]}}'.encode())
    AnswerLog(store).put(
        AnswerQuery(model=f"student:sha256:{named[2].sha256}", prompt="", parameters={}, seed=0),
        LoggedAnswer(text="", finish_reason="stop", prompt_tokens=0, completion_tokens=0, latency_seconds=0.0),
    )
    store.put_object("distillations/x/status.json", f"model: sha256:{named[3].sha256}".encode())
    assert collect(store) == Collected(blobs=0, bytes=0)


def test_a_broken_manifest_still_protects_what_it_names(store: Store, root: Path) -> None:
    blob = old_blob(store, root, "precious")
    store.put_object(f"stages/train/{'a' * 64}/manifest.json", b'{"broken": "' + blob.sha256.encode())
    assert collect(store).blobs == 0


def test_an_empty_store_has_nothing_to_collect(store: Store) -> None:
    assert collect(store) == Collected(blobs=0, bytes=0)


def test_files_of_checkpoints_that_their_run_does_not_name_are_deleted_when_they_are_old(
    store: Store, root: Path
) -> None:
    def checkpoint(key: str, text: str, *, is_old: bool = True) -> tuple[CheckpointFiles, Path]:
        files = CheckpointFiles(store, key)
        artifact = files.put_bytes(text.encode(), name="weights")
        path = root / "runs" / key / "checkpoint" / f"{files.identity}-{artifact.sha256}"
        if is_old:
            os.utime(path, (time.time() - 90_000,) * 2)
        return files, path

    named, kept = checkpoint("k", "named")
    _, superseded = checkpoint("k", "superseded")
    _, of_no_run = checkpoint("gone", "of no run")
    _, young = checkpoint("k", "young", is_old=False)
    store.put_object("runs/k/checkpoint.json", f'{{"files": "{named.identity}"}}'.encode())

    assert collect(store) == Collected(blobs=2, bytes=len("superseded" + "of no run"))
    assert [path.exists() for path in (kept, young, superseded, of_no_run)] == [True, True, False, False]


def test_what_a_checkpoints_file_holds_protects_no_blob(store: Store, root: Path) -> None:
    orphan = old_blob(store, root, "orphan")
    CheckpointFiles(store, "k").put_bytes(orphan.sha256.encode(), name="weights")
    assert collect(store).blobs == 1


def test_a_negative_age_is_refused(store: Store) -> None:
    with pytest.raises(InvalidArgument):
        collect(store, older_than_seconds=-1)


def test_what_killed_writers_left_is_deleted_when_it_is_old(store: Store, root: Path) -> None:
    artifact = store.put_bytes(b"kept", name="kept")
    old, young = (root / "blobs/sha256" / f"{artifact.sha256}#{number}" for number in (1, 2))
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert collect(store, dry_run=True) == Collected(blobs=0, bytes=0)
    assert old.exists()
    collect(store)
    assert not old.exists()
    assert young.exists()
