"""What a server lets the requests of others name: an address that its credentials go to, a file of its disk.

Called by servicers. A Job and a command do what their own user says and need no permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument, PermissionDenied
from stillhouse.roles.metric_reference import custom_metrics_allowed, refuse_custom_metric
from stillhouse.v1.teacher_pb2 import TeacherModel

ALLOW_VARIABLE = "STILLHOUSE_ALLOW_TEACHER_ENDPOINT"


@dataclass(frozen=True)
class ServerPermissions:
    """What the requests to a server may name."""

    custom_metric: bool = False
    """STILLHOUSE_ALLOW_CUSTOM_METRIC=1: a metric `module:function`, which runs that module here."""
    teacher_endpoint: bool = False
    """STILLHOUSE_ALLOW_TEACHER_ENDPOINT=1: a teacher's address, where this server's credentials go, or a GGUF file of
    this machine."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ServerPermissions:
        """Raises InvalidArgument that names the variable."""
        return cls(custom_metrics_allowed(environ), endpoints_allowed(environ))

    def check(self, *, metric: str, models: Iterable[TeacherModel]) -> None:
        """Raises PermissionDenied where a request names what it may not."""
        if metric and not self.custom_metric:
            refuse_custom_metric(metric)
        if not self.teacher_endpoint:
            for model in models:
                refuse_own_endpoint(model)


def endpoints_allowed(environ: Mapping[str, str]) -> bool:
    """Whether requests may name endpoints: STILLHOUSE_ALLOW_TEACHER_ENDPOINT is 1. Raises InvalidArgument."""
    value = environ.get(ALLOW_VARIABLE, "0")
    if value not in ("", "0", "1"):
        raise InvalidArgument(f"{ALLOW_VARIABLE}={value!r} is neither 0 nor 1")
    return value == "1"


def refuse_own_endpoint(model: TeacherModel) -> None:
    """Raises PermissionDenied for a teacher at an address, or in a file, that the request itself names."""
    # litellm takes a URL in the place of some providers' models.
    is_place = model.provider == "gguf" or "://" in model.model
    named = model.endpoint or (model.model if is_place else "")
    if named:
        raise PermissionDenied(
            f"teacher at {named!r}: this server sends its credentials to no address, and reads no file, of a request's "
            f"own; set {ALLOW_VARIABLE}=1 there if its clients are trusted",
            field="teacher.endpoint",
        )
