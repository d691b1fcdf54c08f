"""How services reach a student, read from the environment once at start; tests build the dataclass themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class StudentSettings:
    """How a student's server is reached; a request says where."""

    student_token: str | None = None
    """STILLHOUSE_STUDENT_TOKEN: bearer token of the student's server."""
    student_ca: Path | None = None
    """STILLHOUSE_STUDENT_CA: certificate of the authority that signed the student's; without it plain text."""
    wait_seconds: float = 300.0
    """STILLHOUSE_STUDENT_WAIT_SECONDS: how long a student that loads, or went away, is waited for."""
    row_deadline_seconds: float = 600.0
    """STILLHOUSE_ROW_DEADLINE_SECONDS: time for one answer."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> StudentSettings:
        """Raises InvalidArgument that names the variable."""
        ca = environment.get("STILLHOUSE_STUDENT_CA")
        return cls(
            student_token=environment.get("STILLHOUSE_STUDENT_TOKEN") or None,
            student_ca=Path(ca) if ca else None,
            wait_seconds=_seconds(environment, "STILLHOUSE_STUDENT_WAIT_SECONDS", cls.wait_seconds),
            row_deadline_seconds=_seconds(environment, "STILLHOUSE_ROW_DEADLINE_SECONDS", cls.row_deadline_seconds),
        )


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as exc:
        raise InvalidArgument(f"{name}={text!r} is no number of seconds", field=name) from exc
    if not isfinite(value) or value <= 0:
        raise InvalidArgument(f"{name}={text!r} is not above 0 seconds", field=name)
    return value
