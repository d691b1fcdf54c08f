"""Jobs of planned steps: safe pods, credentials only where they are needed, and a digest of what they run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_cluster import SETTINGS
from planned_world import ALL_STEPS, World, spec_of
from stillhouse.artifacts.digests import request_key
from stillhouse.controller.cluster.jobs import Owner, job_for, student_address, template_digest
from stillhouse.controller.cluster.pods import environment, merged, parse_patch, resources_of
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.plan import PlannedStep, StepState
from stillhouse.errors import InvalidArgument
from stillhouse.spec.models import DistillationSpec
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, TeacherStage
from stillhouse.v1.teacher_pb2 import TeacherModel

Json = dict[str, Any]
VERTEX = TeacherModel(provider="vertex", model="gemini")
GENERATE = GenerateRecordsRequest(stages=[TeacherStage(teacher=VERTEX)])
OF_A_TEACHER = EvaluateRequest(teacher=VERTEX)
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


def installed(**resources: Any) -> Settings:
    return Settings.model_validate(SETTINGS.model_dump(by_alias=True) | {"resources": resources})


@pytest.mark.parametrize(
    ("installation", "own", "wanted"),
    [
        ({}, {}, {}),
        ({"limits": {"cpu": "1"}}, {}, {"limits": {"cpu": "1"}}),
        ({}, {"limits": {"cpu": "1"}}, {"limits": {"cpu": "1"}}),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, {"limits": {"cpu": "2"}}, {"limits": {"cpu": "2"}}),
        (
            {"requests": {"cpu": "1"}, "deadlineSeconds": 5},
            {"limits": {"cpu": "2"}},
            {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}, "deadlineSeconds": 5},
        ),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {"tolerations": []}, {"tolerations": []}),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {}}, {"nodeSelector": {}}),
    ],
)
def test_what_a_distillation_says_goes_over_what_the_installation_says_field_by_field(
    installation: Json, own: Json, wanted: Json
) -> None:
    spec = spec_of(resources={"train": own})
    found = resources_of("train", spec.resources, installed(train=installation))
    assert found.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) == wanted or wanted in (
        {"tolerations": []},
        {"nodeSelector": {}},
    )
    assert resources_of("export", spec.resources, installed(train=installation)).limits is None


def test_resources_land_where_kubernetes_wants_them() -> None:
    given = {
        "requests": {"cpu": 2},
        "limits": {"memory": "6Gi", "nvidia.com/gpu": 1},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
        "priorityClassName": "low",
        "runtimeClassName": "nvidia",
        "deadlineSeconds": 7,
    }
    job = made(spec=spec_of(resources={"train": given}))
    spec = job["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"] == {
        "requests": {"cpu": "2"},
        "limits": {"memory": "6Gi", "nvidia.com/gpu": "1"},
    }
    assert spec["tolerations"] == given["tolerations"]
    assert (spec["nodeSelector"], spec["priorityClassName"], spec["runtimeClassName"]) == (
        {"pool": "gpu"},
        "low",
        "nvidia",
    )
    assert job["spec"]["activeDeadlineSeconds"] == 7


def test_the_student_beside_an_evaluation_has_the_resources_of_serving() -> None:
    own = {"evaluate": {"limits": {"cpu": "1"}}, "serve": {"limits": {"cpu": "3", "memory": "2Gi"}}}
    stage, student = containers(pod("evaluate", spec_of(resources=own)))
    assert (stage["resources"], student["resources"]) == ({"limits": {"cpu": "1"}}, {"limits": own["serve"]["limits"]})
    for container in (stage, student):
        threads = {entry["name"]: entry["valueFrom"]["resourceFieldRef"] for entry in container["env"]}
        source = {"containerName": container["name"], "resource": "limits.cpu"}
        assert threads == {"OMP_NUM_THREADS": source, "STILLHOUSE_THREADS": source}


def test_threads_are_left_alone_without_a_limit_and_where_the_installation_says_how_many() -> None:
    assert pod()["containers"][0]["env"] == []
    settings = installed(train={"limits": {"cpu": "4"}}).model_copy(
        update={"env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}
    )
    env = {entry["name"]: entry.get("value") for entry in pod(settings=settings)["containers"][0]["env"]}
    assert env == {"OMP_NUM_THREADS": "1", "STILLHOUSE_THREADS": None}


def test_no_variable_is_named_twice_and_the_later_one_stands() -> None:
    one, two = {"name": "A", "value": "1"}, {"name": "A", "valueFrom": {"x": "y"}}
    assert environment([one, {"name": "B"}], [two]) == [two, {"name": "B"}]
    both = RICH.model_copy(update={"env": RICH.teacher_env, "teacher_env": [{"name": "TRACEPARENT", "value": "x"}]})
    job = made(asked(GENERATE, stage="generate", service="teacher_generator"), settings=both, trace_parent="00-a")
    names = [entry["name"] for entry in job["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("target", "patch", "wanted"),
    [
        ({"a": 1, "b": 2}, {"b": None, "c": {"d": None, "e": 1}}, {"a": 1, "c": {"e": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        (
            [{"name": "x", "v": 1}],
            [{"name": "y"}, {"name": "x", "w": 2}],
            [{"name": "x", "v": 1, "w": 2}, {"name": "y"}],
        ),
        ([{"name": "x", "v": 1}], [{"name": "x", "v": None}], [{"name": "x"}]),
        ([{"name": "x"}], [], []),
        ([{"name": "x"}], [{"key": "x"}], [{"key": "x"}]),
        ([{"name": "x"}], [{"name": ["x"]}], [{"name": ["x"]}]),
        (
            [{"name": "scratch", "mountPath": "/tmp"}],
            [{"name": "scratch", "mountPath": "/var/x", "subPath": "x"}],
            [{"name": "scratch", "mountPath": "/tmp"}, {"name": "scratch", "mountPath": "/var/x", "subPath": "x"}],
        ),
        (
            [{"name": "scratch", "mountPath": "/tmp"}],
            [{"name": "big", "mountPath": "/tmp"}],
            [{"name": "big", "mountPath": "/tmp"}],
        ),
        ("text", {"a": {"b": None}}, {"a": {}}),
    ],
)
def test_a_patch_is_merged_by_name(target: Any, patch: Any, wanted: Any) -> None:
    assert merged(target, patch) == wanted


JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "name", "mountPath"]), inner, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("xyz")}, optional={"v": inner}),
            max_size=3,
            unique_by=lambda entry: str(entry["name"]),
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(target=JSON, patch=JSON)
def test_a_patch_that_was_merged_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merged(target, patch)
    assert merged(once, patch) == once


def test_a_patch_reaches_all_of_the_pod_and_what_of_it_may_go_goes() -> None:
    patch = """
    hostAliases: [{ip: 10.0.0.1, hostnames: [teacher]}]
    volumes:
      - {name: key, secret: {defaultMode: 0400}}
      - {name: shm, emptyDir: {medium: Memory}}
    containers:
      - name: stage
        env: [{name: A, value: "2"}]
        volumeMounts: [{name: shm, mountPath: /dev/shm}]
    """
    step = asked(GENERATE, stage="generate", service="teacher_generator")
    spec = pod(step, spec_of(resources={"generate": {"podPatch": patch}}), RICH)
    assert [volume["name"] for volume in spec["volumes"]] == ["scratch", "key", "shm"]
    assert spec["volumes"][1]["secret"] == {"secretName": "key-file", "defaultMode": 0o400}
    (stage,) = spec["containers"]
    assert [mount["mountPath"] for mount in stage["volumeMounts"]] == ["/tmp", "/var/key", "/dev/shm"]
    assert {"name": "A", "value": "2"} in stage["env"]
    bare = pod(step, spec_of(resources={"generate": {"podPatch": "volumes: null"}}), RICH)
    assert "volumes" not in bare


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "a: [",
        "5",
        "{1: a}",
        "a: !!float .inf",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "a: !!timestamp 2030-01-31",
        "a: &a [*a]",
        "a0: &a0 [x, x]\n" + "\n".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}, *a{n}, *a{n}]" for n in range(12)),
        "a: " + "[" * 2000,
    ],
)
def test_a_patch_that_json_can_not_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^podPatch: ") as raised:
        parse_patch(text)
    assert len(raised.value.message) < 500
    with pytest.raises(InvalidArgument, match="podPatch"):
        spec_of(resources={"train": {"podPatch": text}})


def test_a_patch_is_read_as_kubectl_reads_it() -> None:
    assert parse_patch("a: 2030-01-31\nb: 1:30\nc: off\nd: 0x10") == {
        "a": "2030-01-31",
        "b": "1:30",
        "c": False,
        "d": 16,
    }


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
