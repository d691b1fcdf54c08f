"""Blobs: content-addressed, verified on every read, whole or absent."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse.artifacts.objects import ObjectEntry, Objects
from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet

LARGE = b"0123456789abcdef" * 400_000  # 6.4 MB: more than one part


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store") if request.param == "file" else f"memory://{tmp_path}")


def tamper(store: Store, artifact: Artifact, data: bytes) -> None:
    store.objects.write(f"blobs/sha256/{artifact.sha256}", data)


def test_bytes_come_back_under_their_digest(store: Store) -> None:
    artifact = store.put_bytes(b"abc", name="a/b.txt", media_type="text/plain", producer_key="k")
    assert artifact == Artifact(
        name="a/b.txt",
        sha256=hashlib.sha256(b"abc").hexdigest(),
        size_bytes=3,
        media_type="text/plain",
        producer_key="k",
    )
    assert store.read_bytes(artifact) == b"abc"
    assert store.has_blob(artifact.sha256)
    assert list(store.list_objects("blobs")) == [f"blobs/sha256/{artifact.sha256}"]


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_files_come_back_as_they_were(store: Store, tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    artifact = store.put_file(source, name="model.bin")
    assert artifact.size_bytes == len(data)
    assert store.fetch(artifact, tmp_path / "deep" / "target").read_bytes() == data


def test_a_store_that_nobody_wrote_to_is_empty_and_makes_no_directory(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "absent"))
    assert not store.has_blob("a" * 64)
    assert store.read_object("runs/x/progress.json") is None
    assert list(store.list_objects("runs")) == []
    store.delete_object("runs/x")
    assert not (tmp_path / "absent").exists()


def test_a_blob_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    artifact = store.put_bytes(b"abc", name="a")
    before = (tmp_path / "blobs/sha256" / artifact.sha256).stat()
    store.put_bytes(b"abc", name="b")
    after = (tmp_path / "blobs/sha256" / artifact.sha256).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_old_blob_is_refreshed_so_that_it_is_not_collected_before_it_is_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    artifact = store.put_bytes(b"abc", name="a")
    blob = tmp_path / "blobs/sha256" / artifact.sha256
    os.utime(blob, (time.time() - 80_000,) * 2)
    store.put_bytes(b"abc", name="a")
    assert time.time() - blob.stat().st_mtime < 60


def test_putting_again_heals_a_blob_of_another_size(store: Store) -> None:
    artifact = store.put_bytes(b"abc", name="a")
    tamper(store, artifact, b"ab")
    assert store.read_bytes(store.put_bytes(b"abc", name="a")) == b"abc"


@pytest.mark.parametrize("data", [b"abd", b"", b"abcc"])
def test_tampered_bytes_are_named_and_never_given(store: Store, tmp_path: Path, data: bytes) -> None:
    artifact = store.put_bytes(b"abc", name="rows.jsonl")
    tamper(store, artifact, data)
    with pytest.raises(DataLoss, match=f"rows.jsonl.*{artifact.sha256}"):
        store.read_bytes(artifact)
    with pytest.raises(DataLoss, match=artifact.sha256):
        next(store.open_lines(artifact))
    with pytest.raises(DataLoss, match=artifact.sha256):
        store.fetch(artifact, tmp_path / "fetched" / "rows.jsonl")
    assert list((tmp_path / "fetched").iterdir()) == []


def test_a_missing_blob_is_named(store: Store) -> None:
    with pytest.raises(NotFound, match=r"adapter.*aaaa"):
        store.read_bytes(Artifact(name="adapter", sha256="a" * 64))


@pytest.mark.parametrize("digest", ["", "A" * 64, "../../etc/passwd", "a" * 63])
def test_what_is_no_digest_is_refused(store: Store, digest: str) -> None:
    with pytest.raises(InvalidArgument, match="no SHA-256"):
        store.read_bytes(Artifact(name="x", sha256=digest))


def test_reading_more_than_the_limit_is_refused(store: Store) -> None:
    artifact = store.put_bytes(b"x" * 100, name="big")
    with pytest.raises(FailedPrecondition, match="larger than 99 bytes"):
        store.read_bytes(artifact, limit_bytes=99)
    assert len(store.read_bytes(artifact, limit_bytes=100)) == 100


def test_lines_are_split_at_line_feeds_only(store: Store) -> None:
    artifact = store.put_bytes("eins\nzwei\u2028immer noch\r\n\ndrei ü".encode(), name="lines")
    assert list(store.open_lines(artifact)) == ["eins", "zwei\u2028immer noch\r", "", "drei ü"]


def test_a_line_that_is_no_utf8_is_named(store: Store) -> None:
    artifact = store.put_bytes(b"fine\n\xff\n", name="rows.jsonl")
    lines = store.open_lines(artifact)
    assert next(lines) == "fine"
    with pytest.raises(InvalidArgument, match=r"rows\.jsonl, line 2"):
        next(lines)


def test_a_file_that_is_fetched_already_is_left_alone(store: Store, tmp_path: Path) -> None:
    artifact = store.put_bytes(b"abc", name="a")
    target = store.fetch(artifact, tmp_path / "target")
    before = target.stat().st_ino
    assert store.fetch(artifact, target).stat().st_ino == before
    target.write_bytes(b"other")
    assert store.fetch(artifact, target).read_bytes() == b"abc"


def test_a_directory_comes_back_with_its_folders(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "b.txt").write_text("b")
    (source / "sub" / "a.txt").write_text("a")
    (source / "link.txt").symlink_to(source / "b.txt")
    files = store.put_directory(source, producer_key="k")
    assert [file.name for file in files.files] == ["b.txt", "link.txt", "sub/a.txt"]
    target = store.fetch_set(files, tmp_path / "target")
    assert (target / "sub" / "a.txt").read_text() == "a"
    assert (target / "link.txt").read_text() == "b"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a//b", ".", "a\\b", "a\0b"])
def test_a_name_that_leaves_the_directory_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    artifact = store.put_bytes(b"abc", name="fine")
    artifact.name = name
    with pytest.raises(InvalidArgument):
        store.fetch_set(ArtifactSet(files=[artifact]), tmp_path / "target")
    assert not (tmp_path / "x").exists()


def test_a_name_that_is_taken_twice_is_refused(store: Store, tmp_path: Path) -> None:
    artifact = store.put_bytes(b"abc", name="a")
    with pytest.raises(InvalidArgument, match="twice"):
        store.fetch_set(ArtifactSet(files=[artifact, artifact]), tmp_path / "target")


def test_a_missing_file_or_directory_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        store.put_file(tmp_path / "absent", name="x")
    with pytest.raises(NotFound, match="absent"):
        store.put_directory(tmp_path / "absent")


def test_a_file_that_changes_while_it_is_stored_leaves_no_blob(tmp_path: Path) -> None:
    """The change comes between the digest and the write: the moment at which a store asks whether the blob is there."""
    source = tmp_path / "source"
    source.write_bytes(LARGE)

    class Disturbed(Objects):
        def entry(self, path: str) -> ObjectEntry | None:
            source.write_bytes(LARGE[1:] + b"!")
            return super().entry(path)

    store = Store(Disturbed(str(tmp_path / "store")))
    with pytest.raises(FailedPrecondition, match="changed while"):
        store.put_file(source, name="x")
    assert list(store.list_objects("blobs")) == []


KILLED_MIDWAY = """
import os, sys
from stillhouse.artifacts.objects import Objects

def chunks():
    for _ in range(12):
        yield os.urandom(1 << 20)
    os.kill(os.getpid(), 9)

Objects(sys.argv[1]).write_stream(sys.argv[2], chunks())
"""


def test_a_writer_killed_midway_leaves_nothing_under_the_blobs_name(tmp_path: Path) -> None:
    root, path = tmp_path / "store", f"blobs/sha256/{hashlib.sha256(LARGE).hexdigest()}"
    writer = subprocess.run([sys.executable, "-c", KILLED_MIDWAY, str(root), path], timeout=60, check=False)
    assert writer.returncode == -signal.SIGKILL
    store = Store.open(str(root))
    assert list(store.list_objects("blobs")) == []
    assert store.read_bytes(store.put_bytes(LARGE, name="x")) == LARGE
    assert list(store.list_objects("blobs")) == [path]
