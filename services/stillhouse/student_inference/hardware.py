"""What this machine offers llama.cpp: physical cores and GPUs.

Called by the engine while it starts; knows no model and no grpc.
"""

from __future__ import annotations

import os
from pathlib import Path

import xllamacpp

ALL_LAYERS = 9999


def physical_cores(
    cpu_information: Path = Path("/proc/cpuinfo"), cpu_quota: Path = Path("/sys/fs/cgroup/cpu.max")
) -> int:
    """Physical cores among the processors that this process may run on, within its cgroup's quota; at least 1.

    Two threads on one core make llama.cpp slower, not faster.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = _cores(cpu_information, allowed) or len(allowed)
    return max(1, min(cores, _whole_cpus(cpu_quota) or cores))


def has_gpu() -> bool:
    """Whether llama.cpp was built for, and sees, a device other than the CPU."""
    return any("GPU" in str(getattr(device["type"], "name", "")) for device in xllamacpp.get_device_info())


def requested_layers(gpu_layers: int) -> int:
    """What llama.cpp is told: -1 is all where there is a GPU, and none where there is not."""
    if not has_gpu():
        return 0
    return ALL_LAYERS if gpu_layers < 0 else gpu_layers


def _cores(cpu_information: Path, allowed: set[int]) -> int:
    try:
        text = cpu_information.read_text()
    except OSError:
        return 0
    found: set[tuple[str, str]] = set()
    for block in text.split("\n\n"):
        facts = dict(line.split(":", 1) for line in block.splitlines() if ":" in line)
        named = {name.strip(): value.strip() for name, value in facts.items()}
        if named.get("processor", "").isdigit() and int(named["processor"]) in allowed and "core id" in named:
            found.add((named.get("physical id", "0"), named["core id"]))
    return len(found)


def _whole_cpus(cpu_quota: Path) -> int:
    """What a cgroup's quota allows, rounded down but at least 1; 0 where there is none."""
    try:
        quota, period = cpu_quota.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 0
