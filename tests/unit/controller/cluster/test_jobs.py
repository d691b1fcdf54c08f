"""The Job of a step: what it says of itself, what its pods may do, and what is beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fake_cluster import SETTINGS
from made_jobs import GENERATE, RICH, STEPS, VERTEX, asked, containers, digest, made, pod
from planned_world import ALL_STEPS, spec_of
from stillhouse.controller.cluster.jobs import check, student_address, template_digest
from stillhouse.controller.plan import PlannedStep
from stillhouse.errors import InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.optimizer_pb2 import OptimizeRequest

OF_A_TEACHER = EvaluateRequest(teacher=VERTEX)
OPTIMIZE = asked(OptimizeRequest(model=Artifact(sha256="7" * 64)), stage="optimize", service="optimizer")


@pytest.mark.parametrize("name", ALL_STEPS)
def test_every_pod_is_restricted_and_has_no_way_to_the_api_server(name: str) -> None:
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["volumes"] == [{"name": "scratch", "emptyDir": {}}]
    for container in containers(spec):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/tmp"}]


@pytest.mark.parametrize("name", ALL_STEPS)
def test_a_job_says_what_it_is(name: str) -> None:
    job, step = made(name), STEPS[name]
    metadata, labels = job["metadata"], job["metadata"]["labels"]
    assert metadata["name"] == f"{step.stage}-{step.key[:20]}"
    assert metadata["annotations"]["stillhouse.dev/key"] == step.key
    assert labels["stillhouse.dev/stage"] == step.stage
    assert labels["app.kubernetes.io/component"] == step.service.replace("_", "-")
    assert labels.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert all(len(value) <= 63 for value in [metadata["name"], *labels.values()])
    assert metadata["ownerReferences"] == [
        {"apiVersion": "stillhouse.dev/v1alpha1", "kind": "Distillation", "name": "first", "uid": "uid-1"}
    ]
    (stage,) = pod(name)["containers"]
    assert stage["command"] == [
        *("python", "-m", f"stillhouse.{step.service}", "run"),
        *("--request", "s3://store/runs/x/request.json"),
    ]
    assert stage["image"] == ("torch:1" if step.service in ("trainer", "exporter") else "slim:1")


def test_a_permanent_error_ends_the_job_and_an_eviction_does_not_count() -> None:
    spec = made()["spec"]
    evicted, failed = spec["podFailurePolicy"]["rules"]
    assert evicted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert failed["action"] == "FailJob"
    assert failed["onExitCodes"] == {"containerName": "stage", "operator": "In", "values": [1, 2, 65, 126, 127]}
    assert spec["backoffLimit"] == 4
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize("name", ALL_STEPS)
def test_only_the_evaluation_of_a_model_has_a_student_beside_it(name: str) -> None:
    beside = pod(name).get("initContainers", [])
    assert [container["name"] for container in beside] == (["student"] if name.startswith("evaluate") else [])
    assert student_address(STEPS[name]) == ("127.0.0.1:50051" if beside else "")
    if beside:
        served = {"evaluate": "7", "evaluate-base": "8"}[name] * 64
        assert beside[0]["restartPolicy"] == "Always"
        assert beside[0]["image"] == "llama:1"
        assert f"sha256:{served}" in beside[0]["command"]
        assert "--host" not in beside[0]["command"]  # the pod's loopback


@pytest.mark.parametrize(
    ("step", "teaches"),
    [
        (asked(GENERATE, stage="generate", service="teacher_generator"), True),
        (asked(OF_A_TEACHER, stage="evaluate", service="evaluator"), True),
        (asked(OptimizeRequest(teacher=VERTEX), stage="optimize", service="optimizer"), True),
        (asked(OptimizeRequest(prompt_model=VERTEX), stage="optimize", service="optimizer"), True),
        (asked(OptimizeRequest(demo_model=VERTEX), stage="optimize", service="optimizer"), True),
        (OPTIMIZE, False),
        *[(STEPS[name], False) for name in ALL_STEPS],
    ],
)
def test_a_teachers_credentials_are_in_its_pods_only(step: PlannedStep, teaches: bool) -> None:
    spec = pod(step, settings=RICH)
    assert spec["serviceAccountName"] == ("teacher" if teaches else "stage")
    assert ({"name": "key", "secret": {"secretName": "key-file"}} in spec["volumes"]) is teaches
    (stage,) = spec["containers"]
    assert ({"secretRef": {"name": "teacher-key"}} in stage["envFrom"]) is teaches
    assert ({"name": "key", "mountPath": "/var/key", "readOnly": True} in stage["volumeMounts"]) is teaches
    names = {entry["name"] for entry in stage["env"]}
    assert ({"GOOGLE_CLOUD_PROJECT", "STILLHOUSE_EMULATOR_ENDPOINT"} <= names) is teaches
    text = str(spec.get("initContainers", ""))
    assert not any(word in text for word in ("teacher-key", "GOOGLE_CLOUD_PROJECT", "key-file", "/var/key"))


def test_a_student_is_served_beside_the_optimization_of_its_prompt() -> None:
    step = replace(OPTIMIZE, serves=Artifact(sha256="7" * 64))
    spec = pod(step)
    assert [container["name"] for container in spec["initContainers"]] == ["student"]
    assert student_address(step) == "127.0.0.1:50051"
    assert spec["containers"][0]["image"] == "slim:1"
    assert spec["containers"][0]["command"][:3] == ["python", "-m", "stillhouse.optimizer"]
    assert "initContainers" not in pod(OPTIMIZE)


@pytest.mark.parametrize("place", ["promptModel", "demoModel"])
def test_a_model_in_a_file_can_not_be_asked_by_an_optimizer_on_a_cluster(place: str) -> None:
    spec = spec_of(optimization={place: {"provider": "gguf", "model": "m.gguf"}})
    with pytest.raises(InvalidArgument, match=rf"^spec\.optimization\.{place}: .*provider student"):
        check(spec)
    check(spec_of(optimization={place: {"provider": "student", "model": "m", "endpoint": "h:1"}}))
    check(spec_of())


def test_making_a_job_changes_no_setting() -> None:
    before = RICH.model_dump_json()
    for _ in range(2):
        made(asked(GENERATE, stage="generate", service="teacher_generator"), settings=RICH, trace_parent="00-a")
    assert RICH.model_dump_json() == before


def test_a_queue_suspends_the_job_and_is_no_label_of_its_pods() -> None:
    job = made(spec=spec_of(queue="gpus"))
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert "suspend" not in made()["spec"]


def test_the_digest_is_of_what_runs_whatever_it_is_traced_by() -> None:
    job = made(trace_parent="00-a")
    assert digest(job) == digest(made(trace_parent="00-b", attempt=3)) == digest(made())
    assert digest(job) == template_digest(job["spec"])
    others = [
        made(settings=SETTINGS.model_copy(update={"env": [{"name": "A", "value": "1"}]})),
        made(settings=SETTINGS.model_copy(update={"images": SETTINGS.images.model_copy(update={"torch": "torch:2"})})),
        made(spec=spec_of(queue="gpus")),
        made(spec=spec_of(resources={"train": {"deadlineSeconds": 5}})),
        made(spec=spec_of(resources={"train": {"podPatch": "{hostname: x}"}})),
        made(replace(STEPS["evaluate"], serves=Artifact(sha256="a" * 64))),
    ]
    digests = {digest(other) for other in [job, *others]}
    assert len(digests) == len(others) + 1
    assert digest(made(spec=spec_of(resources={"export": {"deadlineSeconds": 5}}))) == digest(job)
