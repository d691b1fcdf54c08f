"""Where the model comes from, and that nothing unverified is served."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from stillhouse.student_inference.gguf_header import read_header
from stillhouse.student_inference.model_file import locate_model

GGUF = b"GGUF" + bytes(60)


def test_a_file_is_described_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GGUF)
    found = locate_model(str(path), store_uri=None, cache=tmp_path)
    assert (found.path, found.sha256, found.size_bytes) == (path, hashlib.sha256(GGUF).hexdigest(), 64)


def test_a_digest_is_fetched_once_and_verified(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_bytes(GGUF, name="m.gguf")
    found = locate_model(f"sha256:{artifact.sha256}", store_uri=store.uri, cache=tmp_path / "cache")
    assert found.path.read_bytes() == GGUF
    again = locate_model(f"sha256:{artifact.sha256}", store_uri=None, cache=tmp_path / "cache")
    assert again == found


def test_a_damaged_cache_is_fetched_anew(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_bytes(GGUF, name="m.gguf")
    found = locate_model(f"sha256:{artifact.sha256}", store_uri=store.uri, cache=tmp_path / "cache")
    found.path.write_bytes(b"other")
    assert locate_model(f"sha256:{artifact.sha256}", store_uri=store.uri, cache=tmp_path / "cache") == found


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_bytes(GGUF, name="m.gguf")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PermissionDenied, match="STILLHOUSE_CACHE"):
        locate_model(f"sha256:{artifact.sha256}", store_uri=store.uri, cache=tmp_path / "file")


def test_a_stored_artifact_of_another_kind_is_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_bytes(b"a report", name="report.html")
    with pytest.raises(FailedPrecondition, match="is not a GGUF file"):
        locate_model(f"sha256:{artifact.sha256}", store_uri=store.uri, cache=tmp_path / "cache")


def test_a_tampered_blob_is_not_served(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_bytes(GGUF, name="m.gguf")
    (tmp_path / "store" / "blobs" / "sha256" / artifact.sha256).write_bytes(GGUF + b"x")
    with pytest.raises(DataLoss):
        locate_model(f"sha256:{artifact.sha256}", store_uri=store.uri, cache=tmp_path / "cache")


def test_a_digest_that_the_store_lacks_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        locate_model("sha256:" + "0" * 64, store_uri=str(tmp_path / "store"), cache=tmp_path / "cache")


@pytest.mark.parametrize("model", ["sha256:123", "sha256:" + "G" * 64])
def test_a_malformed_digest_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="64 hexadecimal"):
        locate_model(model, store_uri=None, cache=tmp_path)


def test_a_digest_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="--store"):
        locate_model("sha256:" + "0" * 64, store_uri=None, cache=tmp_path)


def test_a_missing_file_and_a_file_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.gguf"):
        locate_model(str(tmp_path / "nowhere.gguf"), store_uri=None, cache=tmp_path)
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    with pytest.raises(FailedPrecondition, match="not a GGUF file"):
        locate_model(str(other), store_uri=None, cache=tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF",
        b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sI", 1, b"k", 99),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 5),
    ],
)
def test_a_broken_header_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    with pytest.raises(FailedPrecondition, match="not a whole GGUF file"):
        read_header(path)
