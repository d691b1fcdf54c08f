"""What `stillhouse doctor` looks at. Each check says what it found and, where it is bad, the remedy."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stillhouse.cache import cache_directory
from stillhouse.errors import StillhouseError

_GIB = 2**30
_NEEDED_DISK_GIB = 4
_NEEDED_MEMORY_GIB = 5
_PACKAGES = {"torch": "training", "transformers": "training", "xllamacpp": "serving"}
_PACKAGES_OF_SOME_RUNS = {
    "google.cloud.aiplatform_v1": "teachers on Vertex AI, and their emulator",
    "litellm": "teachers by litellm",
    "altair": "the report",
}


class Verdict(Enum):
    """How a check came out."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "BAD"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table."""

    name: str
    verdict: Verdict
    finding: str


def examine(store_uri: str) -> Iterator[Check]:
    """All checks, in order."""
    yield _python()
    yield _disk()
    yield _memory()
    yield _processor()
    yield _gpu()
    yield from _packages()
    yield _store(store_uri)
    yield from _credentials()


def _python() -> Check:
    return Check("python", Verdict.GOOD, f"{platform.python_version()} on {platform.machine()}")


def _disk() -> Check:
    cache = cache_directory(os.environ)
    while not cache.exists():
        cache = cache.parent
    free = shutil.disk_usage(cache).free / _GIB
    verdict = Verdict.GOOD if free >= _NEEDED_DISK_GIB else Verdict.BAD
    remedy = (
        ""
        if verdict is Verdict.GOOD
        else f"; a 135M student needs {_NEEDED_DISK_GIB} GiB: free some, or set STILLHOUSE_CACHE"
    )
    return Check("disk", verdict, f"{free:.1f} GiB free at {cache}{remedy}")


def _memory() -> Check:
    if not hasattr(os, "sysconf") or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return Check("memory", Verdict.NOTE, "cannot be read on this system")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    verdict = Verdict.GOOD if total >= _NEEDED_MEMORY_GIB else Verdict.BAD
    remedy = "" if verdict is Verdict.GOOD else f"; training 135M needs {_NEEDED_MEMORY_GIB} GiB"
    return Check("memory", verdict, f"{total:.1f} GiB, {free:.1f} free{remedy}")


def _processor() -> Check:
    features = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return Check("processor", Verdict.NOTE, f"{os.cpu_count()} threads; features cannot be read on this system")
    present = [feature for feature in features if feature in flags]
    if platform.machine() == "x86_64" and "avx2" not in present:
        return Check("processor", Verdict.BAD, "no AVX2, which the llama.cpp build needs")
    speed = "bfloat16 in hardware" if {"avx512_bf16", "amx_bf16"} & set(present) else "float32 is the fast precision"
    return Check(
        "processor", Verdict.GOOD, f"{os.cpu_count()} threads, {' '.join(present) or 'no x86 features'}; {speed}"
    )


def _gpu() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check(
            "gpu", Verdict.NOTE, "none found; training runs on the processor (135M: about an hour an epoch on 2 cores)"
        )
    return Check("gpu", Verdict.GOOD, "NVIDIA driver found; install the CUDA build of torch to train on it")


def _packages() -> Iterator[Check]:
    for packages, missing in ((_PACKAGES, Verdict.BAD), (_PACKAGES_OF_SOME_RUNS, Verdict.NOTE)):
        for package, needed_for in packages.items():
            found = _is_installed(package)
            yield Check(
                package,
                Verdict.GOOD if found else missing,
                f"for {needed_for}" if found else f"missing, needed for {needed_for}: run `make setup`",
            )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False


def _store(uri: str) -> Check:
    from stillhouse.artifacts.store import Store

    try:
        store = Store.open(uri)
        store.put_object("doctor/probe", b"probe")
        back = store.read_object("doctor/probe")
        store.delete_object("doctor/probe")
    except StillhouseError as exc:
        return Check("store", Verdict.BAD, exc.message)
    if back != b"probe":
        return Check("store", Verdict.BAD, f"{uri} does not give back what was written")
    return Check("store", Verdict.GOOD, f"{store.uri} can be written and read")


def _credentials() -> Iterator[Check]:
    named = {
        "HF_TOKEN": "gated models of the Hugging Face hub",
        "AWS_ACCESS_KEY_ID": "s3:// stores by key",
        "GOOGLE_APPLICATION_CREDENTIALS": "gs:// stores and Vertex AI by key file; else by `gcloud auth`",
        "GOOGLE_CLOUD_PROJECT": "Vertex AI, where a teacher's stage names no project",
    }
    for variable, purpose in named.items():
        state = "set" if os.environ.get(variable) else "not set"
        yield Check(variable, Verdict.NOTE, f"{state}; for {purpose}")
