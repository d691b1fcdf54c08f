"""Timestamps as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from stillhouse.controller.cluster.timestamps import seconds_of, timestamp


def test_a_moment_is_written_in_utc_to_the_second() -> None:
    moment = datetime(2030, 1, 31, 14, 0, 7, 900_000, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2030-01-31T12:00:07Z"


def test_what_is_written_is_read() -> None:
    moment = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert seconds_of(timestamp(moment)) == moment.timestamp()
