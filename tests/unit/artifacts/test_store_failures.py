"""A store that can't be written to, is full or can't be reached says so, in our errors."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore import exceptions

from stillhouse.artifacts.backend import error_of
from stillhouse.artifacts.store import Store
from stillhouse.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_a_temporary_error_that_says_so(small_disk: Path, tmp_path: Path) -> None:
    store = Store.open(str(small_disk / "store"))
    artifact = store.put_bytes(b"x" * 100_000, name="fits")
    with pytest.raises(ResourceExhausted, match="disk is full, free some space"):
        store.put_bytes(b"y" * 2_000_000, name="small, in one piece")
    large = tmp_path / "large"
    large.write_bytes(b"z" * 6_000_000)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        store.put_file(large, name="large, in parts")
    assert list(store.list_objects("blobs")) == [f"blobs/sha256/{artifact.sha256}"]
    assert store.read_bytes(artifact) == b"x" * 100_000


def test_fetching_to_a_full_disk_leaves_no_half_file(small_disk: Path, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    artifact = store.put_bytes(b"y" * 2_000_000, name="model.gguf")
    with pytest.raises(ResourceExhausted, match="disk is full"):
        store.fetch(artifact, small_disk / "model.gguf")
    assert list(small_disk.iterdir()) == []


def test_a_quota_on_file_sizes_is_a_full_disk(tmp_path: Path) -> None:
    script = (
        "import sys; from stillhouse.artifacts.store import Store; from stillhouse.errors import ResourceExhausted\n"
        "try: Store.open(sys.argv[1]).put_bytes(b'x' * 200_000, name='x')\n"
        "except ResourceExhausted as error: print(error.message)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert "disk is full" in ran.stdout


@pytest.mark.parametrize("uri", ["/proc/stillhouse", "/proc", "/dev/null/store"])
def test_a_store_that_takes_no_files_is_refused_at_the_first_write(uri: str) -> None:
    store = Store.open(uri)
    assert store.read_object("runs/x") is None
    with pytest.raises(PermissionDenied, match=f"can't write to {uri}.*name a place that this user may write to"):
        store.put_bytes(b"x", name="x")


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionDenied, match="file/store"):
        Store.open(str(tmp_path / "file" / "store")).put_object("runs/x", b"")


def test_a_read_only_mount_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    Store.open(str(folder)).put_object("runs/x", b"1")
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a read-only disk")
    try:
        with pytest.raises(PermissionDenied, match="Read-only file system"):
            Store.open(str(folder)).put_object("runs/x", b"2")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_server_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_REGION": "us-east-1",
        "STILLHOUSE_STORE_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable, match=r"s3://bucket/p/runs/x.*check the address") as caught:
        Store.open("s3://bucket/p").read_object("runs/x")
    assert "hush-hush" not in caught.value.message


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (FileNotFoundError("x"), NotFound),
        (exceptions.PermissionDeniedError("403"), PermissionDenied),
        (exceptions.UnauthenticatedError("401"), PermissionDenied),
        (exceptions.GenericError("Generic: (os error 28)"), ResourceExhausted),
        (exceptions.GenericError("Generic: source: Os { code: 30, kind: ReadOnlyFilesystem }"), PermissionDenied),
        (exceptions.GenericError("Too many open files (os error 24)"), ResourceExhausted),
        (exceptions.NotSupportedError("conditional put"), FailedPrecondition),
        (exceptions.UnknownConfigurationKeyError("key"), InvalidArgument),
        (exceptions.GenericError("connection reset"), Unavailable),
    ],
)
def test_foreign_errors_become_ours(foreign: Exception, ours: type[Exception]) -> None:
    assert type(error_of(foreign, "store/x", "write")) is ours


def test_the_debug_dump_of_the_library_stays_out_of_the_message() -> None:
    error = error_of(exceptions.GenericError("reset\n\nDebug source:\nGeneric { token: 1 }"), "store/x", "read")
    assert "Debug" not in error.message
    assert "\n" not in error.message
