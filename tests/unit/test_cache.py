"""The cache lies where the environment says, and says so where it can't be written."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from stillhouse.cache import cache_directory, cache_errors
from stillhouse.downloads import Pin, download, read_pin
from stillhouse.errors import Cancelled, FailedPrecondition, PermissionDenied, ResourceExhausted
from stillhouse.exporter.config import ExporterConfig
from stillhouse.trainer.config import TrainerConfig

PIN = Pin("no-such-project", "1.0", "0" * 64)


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    environ = {"STILLHOUSE_CACHE": str(tmp_path)}
    assert cache_directory(environ) == tmp_path
    assert ExporterConfig.from_env(environ).cache_directory == tmp_path
    assert TrainerConfig.from_env(environ).cache_directory == tmp_path
    assert cache_directory({}) == Path.home() / ".cache" / "stillhouse"


def test_a_user_without_a_home_is_told_to_name_a_cache() -> None:
    with pytest.raises(FailedPrecondition, match="Set STILLHOUSE_CACHE"):
        cache_directory({"STILLHOUSE_CACHE": "~no-such-user/cache"})


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ResourceExhausted),
        (OSError(errno.EROFS, "Read-only file system", "/cache/x"), PermissionDenied),
        (OSError(errno.EACCES, "Permission denied", "/cache/x"), PermissionDenied),
    ],
)
def test_a_cache_that_can_not_be_written_is_named_with_the_remedy(error: OSError, ours: type[Exception]) -> None:
    with pytest.raises(ours, match=r"cache /cache can.t be written.*STILLHOUSE_CACHE"), cache_errors(Path("/cache")):
        raise error


def test_a_refusal_of_the_network_is_none_of_the_caches() -> None:
    with pytest.raises(OSError, match="refused") as caught, cache_errors(Path("/cache")):
        raise OSError(errno.EACCES, "refused")
    assert caught.value.errno == errno.EACCES


def test_a_download_hears_the_wish_to_stop(tmp_path: Path) -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Cancelled, match="no-such-project"):
        download(PIN, tmp_path, stopping=stopping)


def test_a_file_without_a_pin_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="pins nothing"):
        read_pin("stillhouse.trainer", "__init__.py")
