"""Flags, environment and hardware."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.config import StudentConfig
from stillhouse.student_inference.hardware import ALL_LAYERS, has_gpu, physical_cores, requested_layers


def test_flags_beat_the_environment() -> None:
    environment = {"STILLHOUSE_MODEL": "a.gguf", "STILLHOUSE_PARALLEL": "3", "STILLHOUSE_STORE": "file:///s"}
    config = StudentConfig.from_arguments(["--parallel", "2", "--port", "0"], environment)
    assert (config.model, config.store, config.server.port) == ("a.gguf", "file:///s", 0)
    assert config.engine.parallel == 2
    assert (config.engine.gpu_layers, config.engine.http_port) == (-1, None)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], "--model"),
        (["--model", "m", "--parallel", "0"], "--parallel"),
        (["--model", "m", "--context", "many"], "--context"),
        (["--model", "m", "--port", "70000"], "port 70000"),
        (["--model", "m", "--gpu-layers", "-2"], "--gpu-layers"),
        (["--model", "m", "--http-port", "0"], "STILLHOUSE_HTTP_KEY"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        StudentConfig.from_arguments(flags, {})


def test_the_key_of_the_http_listener_comes_from_the_environment() -> None:
    config = StudentConfig.from_arguments(["--model", "m", "--http-port", "0"], {"STILLHOUSE_HTTP_KEY": "k"})
    assert (config.engine.http_port, config.engine.http_key) == (0, "k")


def test_plain_http_beyond_loopback_must_be_asked_for() -> None:
    environment = {"STILLHOUSE_MODEL": "m", "STILLHOUSE_HTTP_KEY": "k"}
    flags = ["--http-port", "8080", "--http-host", "0.0.0.0"]
    with pytest.raises(InvalidArgument, match="plain HTTP"):
        StudentConfig.from_arguments(flags, environment)
    assert StudentConfig.from_arguments([*flags, "--allow-plaintext"], environment).engine.http_host == "0.0.0.0"


def test_there_are_threads_for_health_when_all_slots_and_the_queue_are_full() -> None:
    config = StudentConfig.from_arguments(["--model", "m", "--parallel", "50", "--queue", "50"], {})
    assert config.server.workers > 100


def cpu_information(path: Path, *cores: int) -> Path:
    """A /proc/cpuinfo with one processor a core; `cores` are its core ids."""
    allowed = itertools.cycle(sorted(os.sched_getaffinity(0)))
    blocks = (f"processor\t: {next(allowed)}\nphysical id\t: 0\ncore id\t: {core}" for core in cores)
    path.write_text("\n\n".join(blocks))
    return path


def test_two_threads_on_one_core_count_once(tmp_path: Path) -> None:
    assert physical_cores(cpu_information(tmp_path / "cpuinfo", 4, 4), tmp_path / "no quota") == 1
    assert physical_cores(tmp_path / "absent", tmp_path / "no quota") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 3), ("250000 100000", 2), ("50000 100000", 1), ("odd", 3)])
def test_no_more_threads_than_a_containers_quota_allows(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert physical_cores(cpu_information(tmp_path / "cpuinfo", 0, 1, 2), tmp_path / "cpu.max") == cores


def test_layers_go_to_a_gpu_only_where_there_is_one() -> None:
    assert (requested_layers(7), requested_layers(-1)) == ((7, ALL_LAYERS) if has_gpu() else (0, 0))
