"""Resources and variables of a Job: whose word counts, and where Kubernetes wants them."""

from __future__ import annotations

from typing import Any

import pytest

from fake_cluster import SETTINGS
from made_jobs import GENERATE, RICH, asked, containers, made, pod
from planned_world import spec_of
from stillhouse.controller.cluster.pods import environment, resources_of
from stillhouse.controller.cluster.settings import Settings

Json = dict[str, Any]


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
