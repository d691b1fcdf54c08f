"""The evaluator's environment, read once by `__main__`; tests build the dataclass themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import custom_metrics_allowed
from stillhouse.teachers.permission import endpoints_allowed


@dataclass(frozen=True)
class ServerPermissions:
    """What the requests to a server may name. A Job does what its own user asks for."""

    custom_metric: bool = False
    """STILLHOUSE_ALLOW_CUSTOM_METRIC=1: a metric `module:function`, which runs that module here."""
    teacher_endpoint: bool = False
    """STILLHOUSE_ALLOW_TEACHER_ENDPOINT=1: the address of a teacher, which this server's credentials go to."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> ServerPermissions:
        """Raises InvalidArgument that names the variable."""
        return cls(custom_metrics_allowed(environment), endpoints_allowed(environment))


@dataclass(frozen=True)
class EvaluatorConfig:
    """How the student is reached; a request says where."""

    student_token: str | None = None
    """STILLHOUSE_STUDENT_TOKEN: bearer token of the student's server."""
    student_ca: Path | None = None
    """STILLHOUSE_STUDENT_CA: certificate of the authority that signed the student's; without it plain text."""
    wait_seconds: float = 300.0
    """STILLHOUSE_STUDENT_WAIT_SECONDS: how long a student that loads, or went away, is waited for."""
    row_deadline_seconds: float = 600.0
    """STILLHOUSE_ROW_DEADLINE_SECONDS: time for one answer."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> EvaluatorConfig:
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
