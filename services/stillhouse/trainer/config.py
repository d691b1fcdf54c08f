"""The trainer's environment, read once by `__main__`; tests build the dataclass themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stillhouse.cache import cache_directory
from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class TrainerConfig:
    """What the machine decides and a request does not say."""

    cache_directory: Path
    """STILLHOUSE_CACHE; default ~/.cache/stillhouse. Holds fetched wheels and prepared bases; safe to delete."""
    threads: int
    """OMP_NUM_THREADS; default: the cores this process may use."""
    hub_token: str | None = None
    """HF_TOKEN: needed for gated models on the hub."""
    hub_endpoint: str | None = None
    """HF_ENDPOINT: a mirror of the hub; default https://huggingface.co."""
    hub_home: Path | None = None
    """HF_HOME: where models of the hub are kept; default: the cache. An image's cache can't be written."""

    @property
    def hub_cache(self) -> Path:
        """The hub client's own cache of snapshots."""
        return (self.hub_home or self.cache_directory) / "hub"

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> TrainerConfig:
        """Raises InvalidArgument that names the variable."""
        threads = environment.get("OMP_NUM_THREADS") or str(usable_cores())
        if not threads.isdecimal() or int(threads) < 1:
            raise InvalidArgument(f"OMP_NUM_THREADS={threads!r} is no number of threads", field="OMP_NUM_THREADS")
        return cls(
            cache_directory=cache_directory(environment),
            threads=int(threads),
            hub_token=environment.get("HF_TOKEN") or None,
            hub_endpoint=environment.get("HF_ENDPOINT") or None,
            hub_home=Path(environment["HF_HOME"]).expanduser() if environment.get("HF_HOME") else None,
        )


def usable_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores by affinity and by the control group's quota, which affinity does not show in a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores
