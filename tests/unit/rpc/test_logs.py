"""Logs are JSON lines without secrets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stillhouse.rpc.logs import hide_secrets


@pytest.mark.parametrize("name", ["token", "hf_token", "password", "api_key", "authorization", "aws_secret_access_key"])
def test_values_under_the_names_of_secrets_are_hidden(name: str) -> None:
    assert hide_secrets(None, "info", {name: "swordfish"}) == {name: "[hidden]"}


@pytest.mark.parametrize("name", ["tokens_per_second", "trained_tokens", "key", "secretary"])
def test_names_that_only_look_like_secrets_are_shown(name: str) -> None:
    assert hide_secrets(None, "info", {name: "12"}) == {name: "12"}


def test_secrets_inside_texts_lists_and_mappings_are_hidden() -> None:
    event = hide_secrets(
        None,
        "info",
        {
            "event": "sent Authorization: Bearer abc.def-123",
            "urls": ["https://me:swordfish@host/x"],
            "headers": {"Authorization": "abc", "figures": {"loss": 0.5}},
        },
    )
    assert event == {
        "event": "sent Authorization: [hidden]",
        "urls": ["https://[hidden]@host/x"],
        "headers": {"Authorization": "[hidden]", "figures": {"loss": 0.5}},
    }


def test_ours_and_foreign_events_are_json_lines_on_standard_error() -> None:
    script = (
        "import logging, structlog\n"
        "from stillhouse.rpc.logs import configure_logging\n"
        "configure_logging('trainer')\n"
        "structlog.get_logger().info('started', key='k', token='swordfish')\n"
        "logging.getLogger('grpc').warning('foreign %s', 'Bearer swordfish')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError as error: structlog.get_logger().error('failed', exc_info=error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    ours, foreign, failed = [json.loads(line) for line in ran.stderr.splitlines()]
    assert (ours["event"], ours["service"], ours["level"], ours["key"]) == ("started", "trainer", "info", "k")
    assert foreign["event"] == "foreign [hidden]"
    assert "ZeroDivisionError" in failed["exception"]
    assert "swordfish" not in ran.stderr
