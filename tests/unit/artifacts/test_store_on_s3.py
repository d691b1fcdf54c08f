"""The same store over the S3 protocol, against moto's server on localhost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from stillhouse.artifacts.answers import AnswerLog, AnswerQuery, LoggedAnswer
from stillhouse.artifacts.collect import collect
from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, NotFound, StillhouseError
from stillhouse.v1.artifact_pb2 import Manifest


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "STILLHOUSE_STORE_RETRIES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="stillhouse")
    client.close()
    return Store.open(f"s3://stillhouse/{request.node.name}")


def test_s3_bytes_files_and_directories_come_back(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large.bin").write_bytes(os.urandom(9_000_000))
    (source / "small.txt").write_text("small")
    files = store.put_directory(source)
    target = store.fetch_set(files, tmp_path / "target")
    assert (target / "large.bin").read_bytes() == (source / "large.bin").read_bytes()
    assert list(store.open_lines(files.files[1])) == ["small"]


def test_s3_commits_once_under_racing_writers(store: Store) -> None:
    agreed: list[str] = []
    start = threading.Barrier(4)

    def commit(number: int) -> None:
        start.wait()
        manifest = Manifest(stage="train", key="a" * 64, stillhouse_version=str(number))
        agreed.append(store.commit_manifest(manifest).stillhouse_version)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(agreed) == 4
    assert [found.key for found in store.manifests()] == ["a" * 64]


def test_s3_the_second_commit_adopts_the_first(store: Store) -> None:
    store.commit_manifest(Manifest(stage="train", key="a" * 64, stillhouse_version="first"))
    second = store.commit_manifest(Manifest(stage="train", key="a" * 64, stillhouse_version="second"))
    assert second.stillhouse_version == "first"


def test_s3_answers_are_kept_once(store: Store) -> None:
    log = AnswerLog(store)
    query = AnswerQuery(model="m", prompt="p", parameters={}, seed=0)
    answer = LoggedAnswer(text="t", finish_reason="stop", prompt_tokens=1, completion_tokens=1, latency_seconds=0.5)
    log.put(query, answer)
    assert log.get(query) == answer


def test_s3_tampered_and_missing_blobs_are_named(store: Store) -> None:
    artifact = store.put_bytes(b"abc", name="a")
    store.objects.write(f"blobs/sha256/{artifact.sha256}", b"abd")
    with pytest.raises(DataLoss, match=artifact.sha256):
        store.read_bytes(artifact)
    store.objects.delete(f"blobs/sha256/{artifact.sha256}")
    with pytest.raises(NotFound, match=artifact.sha256):
        store.read_bytes(artifact)


def test_s3_objects_are_listed_below_their_folder_and_collected(store: Store) -> None:
    store.put_bytes(b"orphan", name="a")
    store.put_object("runs/a/progress.json", b"1")
    assert list(store.list_objects("runs")) == ["runs/a/progress.json"]
    assert collect(store, older_than_seconds=0).blobs == 1
    assert list(store.list_objects("blobs")) == []


def test_s3_a_missing_bucket_is_an_error_of_ours(store: Store) -> None:
    with pytest.raises(StillhouseError, match="s3://no-such-bucket/x"):
        Store.open("s3://no-such-bucket/x").put_object("runs/x", b"")
