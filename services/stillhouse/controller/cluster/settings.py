"""What an installation says of the Jobs and students that its controller makes: one YAML file, written by the chart.

Read once by `__main__`. It must not know any Distillation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.spec.resources import Stage, StageResources

SETTINGS_VARIABLE = "STILLHOUSE_SETTINGS"
_FAMILY_OF_SERVICE = {"trainer": "torch", "exporter": "torch", "student_inference": "llama"}
Json = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Images(_Part):
    """One image a family of services."""

    slim: str
    torch: str
    llama: str


class ServiceAccounts(_Part):
    """Whom the pods of stages run as."""

    teacher: str
    """Pods that ask a teacher; it may carry its credentials."""
    stage: str
    """All others, students too."""


class SecretVolume(_Part):
    """A secret as files."""

    name: str
    secret_name: str
    mount_path: str


class Settings(_Part):
    """One installation."""

    store: str = ""
    """Of Distillations that name none."""
    namespaces: Annotated[list[str], Field(min_length=1)]
    """Where Distillations are watched and acted upon."""
    images: Images
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[Json] = []
    service_accounts: ServiceAccounts
    env: list[Json] = []
    """EnvVars of every pod; what they hold is no secret."""
    env_from: list[Json] = []
    """EnvFromSources of every pod, such as the store's credentials."""
    teacher_env: list[Json] = []
    """In addition, for pods that ask a teacher."""
    teacher_env_from: list[Json] = []
    teacher_volumes: list[SecretVolume] = []
    emulator_endpoint: str = ""
    """URL of the installation's emulated teacher; empty: each pod that wants one starts its own."""
    resources: dict[Stage, StageResources] = {}
    """By stage; a Distillation's own go first, field by field."""
    jobs_per_distillation: Annotated[int, Field(ge=1, le=64)] = 1
    resync_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    """How often a Distillation that is under way is looked at without an event."""

    def image_of(self, service: str) -> str:
        """The image that holds a service, by its Python name."""
        image: str = getattr(self.images, _FAMILY_OF_SERVICE.get(service, "slim"))
        return image


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The file that STILLHOUSE_SETTINGS names. Raises InvalidArgument or NotFound that names it and what is wrong."""
    named = environ.get(SETTINGS_VARIABLE)
    if not named:
        raise InvalidArgument(f"{SETTINGS_VARIABLE} names no file; the chart mounts one at /etc/stillhouse")
    try:
        document = yaml.safe_load(Path(named).read_bytes())
    except OSError as exc:
        raise NotFound(
            f"{SETTINGS_VARIABLE}: {named} can't be read: {exc.strerror}; name the chart's settings.yaml"
        ) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{named} is not YAML: {' '.join(str(exc).split())}") from exc
    try:
        return Settings.model_validate(document)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise InvalidArgument(f"{named}: {problems}") from exc
