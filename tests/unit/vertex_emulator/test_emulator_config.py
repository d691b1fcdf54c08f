"""Flags and environment of the server."""

from __future__ import annotations

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.vertex_emulator.config import EmulatorConfig, duration_seconds


def config(*arguments: str, **environ: str) -> EmulatorConfig:
    return EmulatorConfig.from_arguments(arguments, environ)


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("250ms", 0.25), ("0", 0), ("2m", 120), ("1.5", 1.5)])
def test_durations_have_units(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1s", "ten", "1h", "1s2", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="10s, 250ms or 0"):
        duration_seconds(text)


def test_the_token_comes_from_the_environment_and_a_flag_goes_first() -> None:
    assert config(STILLHOUSE_EMULATOR_TOKEN="a").token == "a"
    assert config("--token", "b", STILLHOUSE_EMULATOR_TOKEN="a").token == "b"
    assert config().token is None
    assert "secret" not in repr(config("--token", "secret"))


def test_plain_text_beyond_loopback_must_be_asked_for() -> None:
    with pytest.raises(InvalidArgument, match=r"refusing to serve plain text on 0\.0\.0\.0.*--insecure"):
        config("--host", "0.0.0.0")
    assert config("--host", "0.0.0.0", "--insecure").host == "0.0.0.0"
    assert config("--host", "0.0.0.0", "--tls-cert", "c.pem", "--tls-key", "k.pem").scheme == "https"
    assert config("--host", "localhost").scheme == "http"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "70000"),
        ("--tls-cert", "c.pem"),
        ("--token", ""),
        ("--unavailable", "1.5"),
        ("--stall", "-0.1"),
        ("--requests-per-minute", "0"),
        ("--tokens-per-minute", "nan"),
        ("--latency", "soon"),
    ],
)
def test_values_that_make_no_sense_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        config(*arguments)
