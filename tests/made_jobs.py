"""Jobs of planned steps, for tests of what stands in them."""

from __future__ import annotations

from typing import Any

from fake_cluster import SETTINGS
from planned_world import ALL_STEPS, World, spec_of
from stillhouse.artifacts.digests import request_key
from stillhouse.controller.cluster.jobs import Owner, job_for
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.plan import PlannedStep, StepState
from stillhouse.spec.models import DistillationSpec
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, TeacherStage
from stillhouse.v1.teacher_pb2 import TeacherModel

Json = dict[str, Any]
VERTEX = TeacherModel(provider="vertex", model="gemini")
GENERATE = GenerateRecordsRequest(stages=[TeacherStage(teacher=VERTEX)])
RICH = SETTINGS.model_copy(
    update={
        "env": [{"name": "A", "value": "1"}],
        "teacher_env": [{"name": "GOOGLE_CLOUD_PROJECT", "value": "mine"}],
        "teacher_env_from": [{"secretRef": {"name": "teacher-key"}}],
        "teacher_volumes": Settings.model_validate(
            SETTINGS.model_dump(by_alias=True)
            | {"teacherVolumes": [{"name": "key", "secretName": "key-file", "mountPath": "/var/key"}]}
        ).teacher_volumes,
        "emulator_endpoint": "http://emulator:8080",
    }
)


def planned() -> dict[str, PlannedStep]:
    """Every step with its request."""
    world = World(spec_of())
    for name in ALL_STEPS:
        world.finish(name)
    return {step.name: step for step in world.plan().steps}


STEPS = planned()


def asked(request: Any, *, stage: str, service: str) -> PlannedStep:
    return PlannedStep(stage, service, stage, StepState.READY, key=request_key(stage, 1, request), request=request)


def made(
    step: PlannedStep | str = "train", spec: DistillationSpec | None = None, settings: Settings = SETTINGS, **given: Any
) -> Json:
    return job_for(
        STEPS[step] if isinstance(step, str) else step,
        spec or spec_of(),
        settings,
        owner=Owner("first", "uid-1"),
        store_uri="s3://store",
        request_uri="s3://store/runs/x/request.json",
        **given,
    )


def pod(*arguments: Any, **given: Any) -> Json:
    found: Json = made(*arguments, **given)["spec"]["template"]["spec"]
    return found


def containers(spec: Json) -> list[Json]:
    return [*spec["containers"], *spec.get("initContainers", [])]


def digest(job: Json) -> str:
    found: str = job["metadata"]["annotations"]["stillhouse.dev/template"]
    return found
