"""The teacher generator's settings, read from the environment once, at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stillhouse.roles.metric_reference import custom_metrics_allowed
from stillhouse.teachers.permission import endpoints_allowed


@dataclass(frozen=True)
class TeacherGeneratorConfig:
    """What a serving teacher generator permits."""

    allow_custom_metric: bool
    """STILLHOUSE_ALLOW_CUSTOM_METRIC=1: requests may name a metric `module:function`, which runs that module here."""
    allow_endpoint: bool
    """STILLHOUSE_ALLOW_TEACHER_ENDPOINT=1: requests may name a teacher's address, where this server's credentials go,
    or a GGUF file of this machine."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> TeacherGeneratorConfig:
        """Raises InvalidArgument that names the variable whose value is wrong."""
        return cls(custom_metrics_allowed(environ), endpoints_allowed(environ))
