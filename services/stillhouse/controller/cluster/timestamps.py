"""Timestamps as Kubernetes writes them, such as 2030-01-31T12:00:00Z.

Called by what reads or writes its objects, here and in the command line.
"""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """Of an aware `moment`, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(stamp: str) -> float:
    """Seconds since the epoch."""
    return datetime.fromisoformat(stamp).timestamp()
