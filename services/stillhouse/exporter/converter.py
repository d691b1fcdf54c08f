"""llama.cpp's own converter: fetched once by pinned digest, kept in a cache, run as a subprocess. Nothing is compiled.

Called by `export` and, to fill the cache at image build, as `python -m stillhouse.exporter.converter`. Knows nothing of
requests, stores or gates.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stillhouse.cache import cache_errors
from stillhouse.downloads import Pin, download, read_pin
from stillhouse.errors import DataLoss, FailedPrecondition, StillhouseError
from stillhouse.exporter.config import ExporterConfig
from stillhouse.rpc.tool import run_tool

SOURCE_PREFIX = "vendor/llama.cpp/"
WANTED_FILES = frozenset({"convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "LICENSE"})
WANTED_FOLDERS = frozenset({"conversion", "gguf-py"})
TREE_SHA256 = "730a3ab883934266f8bffbe33c5693f950eee2470ffa1d4a901b85b7d6fab8e3"
"""Digest of the extracted files; see `tree_digest`."""
CONVERTER_TYPES = ("F32", "F16", "BF16", "Q8_0")
"""Quantizations that the converter writes itself."""


@dataclass(frozen=True)
class Conversion:
    """One file to write."""

    script: str
    arguments: tuple[str, ...]
    output: Path


def model_conversion(model: Path, output: Path, *, quantization: str, name: str) -> Conversion:
    """A Hugging Face directory as GGUF; `quantization` is one of CONVERTER_TYPES, `name` the model's own name."""
    arguments = (str(model), "--outfile", str(output), "--outtype", quantization.lower(), "--model-name", name)
    return Conversion("convert_hf_to_gguf.py", arguments, output)


def adapter_conversion(adapter: Path, output: Path, *, base: Path) -> Conversion:
    """A PEFT LoRA directory as GGUF at f32, scaled by what its `lora_alpha` says."""
    arguments = ("--base", str(base), "--outfile", str(output), "--outtype", "f32", str(adapter))
    return Conversion("convert_lora_to_gguf.py", arguments, output)


@dataclass(frozen=True)
class Converter:
    """An extracted converter."""

    directory: Path

    def convert(self, conversions: Sequence[Conversion], *, log: Path, stopping: threading.Event) -> None:
        """Writes the files one after the other, in one process of its own. Errors as `run_tool`."""
        commands = [[str(self.directory / one.script), *one.arguments] for one in conversions]
        environment = {
            "PYTHONPATH": os.pathsep.join([str(self.directory), str(self.directory / "gguf-py")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        names = ", ".join(one.output.name for one in conversions)
        run_tool(
            f"llama.cpp's converter ({names})",
            [sys.executable, "-m", "stillhouse.exporter.scripts", json.dumps(commands)],
            log=log,
            stopping=stopping,
            environment=environment,
        )
        for one in conversions:
            if not one.output.is_file():
                raise FailedPrecondition(f"llama.cpp's {one.script} ended without writing {one.output.name}")


def converter_pin() -> Pin:
    """The pin that ships with this package."""
    return read_pin("stillhouse.exporter", "converter-requirements.txt")


def prepare_converter(cache_directory: Path, *, stopping: threading.Event) -> Converter:
    """The converter, from the cache or fetched into it; safe where several processes do so at once.

    Raises what `download` raises, DataLoss where the cache holds something else, PermissionDenied or ResourceExhausted
    where it can't be written.
    """
    pin = converter_pin()
    home = cache_directory / "converter" / pin.sha256
    if not home.is_dir():
        with cache_errors(cache_directory):
            _fill(home, pin, stopping)
    if tree_digest(home) != TREE_SHA256:
        raise DataLoss(f"the converter in {home} is not the pinned one; delete that directory and repeat")
    return Converter(home)


def tree_digest(directory: Path) -> str:
    """SHA-256 over name, size and bytes of the wanted files in order of name; compiled leftovers don't count."""
    digest = hashlib.sha256()
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    for name in names:
        if _wanted(name):
            data = (directory / name).read_bytes()
            digest.update(f"{name}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (name in WANTED_FILES or parts[0] in WANTED_FOLDERS) and not name.endswith(".pyc")


def _fill(home: Path, pin: Pin, stopping: threading.Event) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".fetch-") as folder:
        tree = Path(folder) / "tree"
        _extract(download(pin, Path(folder), stopping=stopping, as_source=True), tree)
        try:
            tree.rename(home)
        except OSError:
            # Whoever renames first wins; the other finds a directory that is not empty and uses that.
            if not home.is_dir():
                raise


def _extract(archive: Path, tree: Path) -> None:
    """Takes only the wanted 2 MB out of the archive, without the folders above them."""
    try:
        with tarfile.open(archive, "r:gz") as source:
            for member in source:
                _, marker, name = member.name.partition(f"/{SOURCE_PREFIX}")
                if not marker or not member.isfile() or not _wanted(name) or ".." in PurePosixPath(name).parts:
                    continue
                content = source.extractfile(member)
                if content is None:
                    continue
                path = tree / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as output:
                    shutil.copyfileobj(content, output)
    except tarfile.TarError as exc:
        raise DataLoss(f"{archive.name} is no readable source distribution: {exc}") from exc


def main() -> int:
    """Fills the cache and prints the converter's directory; for image builds and `make setup`."""
    try:
        converter = prepare_converter(ExporterConfig.from_env(os.environ).cache_directory, stopping=threading.Event())
    except StillhouseError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return exc.exit_code
    sys.stdout.write(f"{converter.directory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
