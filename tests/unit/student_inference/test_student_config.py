"""Flags, environment and hardware."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.config import StudentConfig
from stillhouse.student_inference.hardware import physical_cores, requested_layers


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


def test_two_threads_on_one_core_count_once(tmp_path: Path) -> None:
    import os

    first = min(os.sched_getaffinity(0))
    path = tmp_path / "cpuinfo"
    path.write_text("\n\n".join(f"processor\t: {first}\nphysical id\t: 0\ncore id\t: 4" for _ in range(2)))
    assert physical_cores(path) == 1
    assert physical_cores(tmp_path / "absent") >= 1


def test_no_layer_goes_to_a_gpu_that_is_not_there() -> None:
    assert requested_layers(7) in (0, 7)
