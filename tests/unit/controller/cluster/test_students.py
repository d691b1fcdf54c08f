"""Students on a cluster in memory: who serves, who keeps, and that nobody undoes what another wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_cluster import NAMESPACE
from serving_scene import HIGH, LOW, M1, M2, M3, Scene, said
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import DEPLOYMENTS, DISRUPTION_BUDGETS, DISTILLATIONS, SERVICES, Conflict
from stillhouse.errors import PermissionDenied

Json = dict[str, Any]
Scores = tuple[dict[str, float] | None, dict[str, float]]
EVEN = {row: score + (0.1 if number % 2 else -0.1) for number, (row, score) in enumerate(LOW.items())}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.submit("first")
    made.evaluate("first", M1, second=1)
    made.look("first")
    return made


def test_the_first_is_served_with_all_that_stands_around_it(scene: Scene) -> None:
    assert scene.served() == M1
    assert scene.cluster.writes == [
        "apply Service quiz",
        "apply Service quiz-headless",
        "apply PodDisruptionBudget quiz",
        "apply Deployment quiz",
    ]
    selector = {"stillhouse.dev/student": "quiz"}
    for name, cluster_ip in [("quiz", None), ("quiz-headless", "None")]:
        service = scene.cluster.objects["services", NAMESPACE, name]
        assert service["spec"]["selector"] == selector
        assert service["spec"].get("clusterIP") == cluster_ip
    spec = scene.deployment()["spec"]
    assert spec["selector"] == {"matchLabels": selector}
    assert selector.items() <= spec["template"]["metadata"]["labels"].items()


def test_a_new_pod_is_ready_before_the_old_one_goes_and_that_one_ends_what_it_began(scene: Scene) -> None:
    spec = scene.deployment()["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert "replicas" not in spec  # an autoscaler's
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": 50051}
    lag = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = next(int(e["value"]) for e in container["env"] if e["name"] == "STILLHOUSE_DRAIN_SECONDS")
    assert pod["terminationGracePeriodSeconds"] > lag + drain
    assert [port["name"] for port in container["ports"]] == ["grpc", "metrics"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "stage"


@pytest.mark.parametrize(
    ("policy", "scores", "given", "reason"),
    [
        ("Always", LOW, {}, None),
        ("Always", LOW, {"rows": "a"}, None),
        ("IfBetter", HIGH, {}, None),
        ("IfBetter", LOW, {}, "NotBetter"),
        ("IfBetter", EVEN, {}, "NotBetter"),
        ("IfBetter", HIGH, {"rows": "a"}, "NotComparable"),
        ("IfBetter", {**HIGH, "one-more": 1.0}, {}, "NotComparable"),
        ("IfBetter", HIGH, {"passed": False}, "GatesFailed"),
        ("Never", HIGH, {}, "NotWanted"),
        ("Always", HIGH, {"second": 0.5}, "Superseded"),
    ],
)
def test_a_second_one_takes_over_or_does_not(
    scene: Scene, policy: str, scores: dict[str, float], given: Json, reason: str | None
) -> None:
    scene.submit("second", policy=policy)
    scene.evaluate("second", M2, **{"second": 2, "scores": scores, **given})
    before = scene.deployment()
    assert said(scene.look("second")) == ((False, reason) if reason else (True, "Serving"))
    assert scene.served() == (M1 if reason else M2)
    if reason:
        assert scene.deployment() == before
    else:
        assert scene.owners() == ["first", "second"]
        assert said(scene.look("first")) == (False, "Superseded")
    scene.rest("first", "second")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        # Scores with the program (None: there is none), and with the role's own prompt.
        ((None, LOW), (HIGH, LOW), "NotBetter"),
        ((None, LOW), (LOW, HIGH), None),
        ((HIGH, LOW), (None, HIGH), None),
        ((LOW, HIGH), (None, HIGH), "NotBetter"),
        ((HIGH, LOW), (HIGH, HIGH), None),
        ((LOW, LOW), (HIGH, LOW), "NotBetter"),
    ],
)
def test_students_are_compared_by_the_own_prompt_that_clients_send(
    tmp_path: Path, first: Scores, second: Scores, reason: str | None
) -> None:
    scene = Scene(tmp_path)
    for name, model, (program, own), moment in (("first", M1, first, 1), ("second", M2, second, 2)):
        scene.submit(name)
        given: Json = {"scores": own} if program is None else {"scores": program, "own_prompt": own}
        scene.evaluate(name, model, second=moment, **given)
        serving = scene.look(name)
    assert said(serving) == ((False, reason) if reason else (True, "Serving"))
    assert scene.served() == (M1 if reason else M2)
    scene.rest("first", "second")


def test_nothing_is_served_before_the_own_prompt_is_evaluated(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.submit("first")
    scene.evaluate("first", M1, second=1, own_prompt=LOW)
    done, model = scene.made["first"]
    steps = (replace(step, manifest=None) if step.name == "evaluate-unoptimized" else step for step in done.steps)
    scene.made["first"] = (replace(done, steps=tuple(steps)), model)
    assert scene.look("first") is None


def test_a_model_that_is_served_for_its_optimised_prompt_is_not_compared_with(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.submit("first")
    scene.evaluate("first", M1, second=1, own_prompt=LOW)
    scene.look("first")
    key = scene.made["first"][0].step("evaluate").key
    served = scene.cluster.objects[DEPLOYMENTS.plural, NAMESPACE, "quiz"]
    served["metadata"]["annotations"]["stillhouse.dev/evaluation"] = key
    scene.submit("second")
    scene.evaluate("second", M2, second=2, scores=HIGH)
    serving = scene.look("second")
    assert said(serving) == (False, "NotComparable")
    assert serving is not None
    assert "is not of the role's own prompt" in serving.message


def test_a_change_of_model_changes_nothing_but_what_it_must(scene: Scene) -> None:
    scene.submit("second", policy="Always")
    scene.evaluate("second", M2, second=2)
    before = scene.deployment()
    scene.look("second")
    after = scene.deployment()
    assert json.loads(json.dumps(before["spec"]).replace(M1, M2)) == after["spec"]
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert before["metadata"]["labels"] == after["metadata"]["labels"]


def test_rows_that_can_no_longer_be_read_are_not_compared_with(scene: Scene) -> None:
    def refused(_uri: str) -> Store:
        raise PermissionDenied("s3://other: access denied")

    scene.open_store = refused
    scene.submit("second")
    scene.evaluate("second", M2, second=2, scores=HIGH)
    serving = scene.look("second")
    assert said(serving) == (False, "NotComparable")
    assert serving is not None
    assert "access denied" in serving.message


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [({"slots": 7}, 1), ({"slots": 7}, 2), ({"resources": {"serve": {"limits": {"cpu": "3"}}}}, 1), ({}, 2), ({}, 0.5)],
)
def test_two_that_made_the_same_model_do_not_undo_what_the_other_wrote(
    scene: Scene, changes: Json, seconds: float
) -> None:
    scene.submit("second", **changes)
    scene.evaluate("second", M1, second=seconds)
    scene.rest("first", "second")
    assert sorted(scene.owners()) == ["first", "second"]
    assert said(scene.look("first")) == said(scene.look("second")) == (True, "Serving")


def test_who_is_left_sees_to_the_model_that_two_made(scene: Scene) -> None:
    scene.submit("second", slots=7)
    scene.evaluate("second", M1, second=1)
    scene.rest("first", "second")
    scene.cluster.remove("first")
    scene.rest("second")
    (container,) = scene.deployment()["spec"]["template"]["spec"]["containers"]
    assert container["command"][container["command"].index("--parallel") + 1] == "7"
    assert "second" in [
        owner["name"] for owner in scene.cluster.objects["services", NAMESPACE, "quiz"]["metadata"]["ownerReferences"]
    ]


def test_evaluations_of_the_same_millisecond_have_an_order(scene: Scene) -> None:
    scene.submit("second", policy="Always")
    scene.submit("third", policy="Always")
    scene.evaluate("second", M2, second=1_900_000_000.000_02)
    scene.evaluate("third", M3, second=1_900_000_000.000_04)
    scene.rest("second", "third")
    assert scene.served() == M3


@pytest.mark.parametrize("kind", [SERVICES, DEPLOYMENTS, DISRUPTION_BUDGETS])
def test_what_is_somebody_elses_is_left_alone(tmp_path: Path, kind: Any) -> None:
    scene = Scene(tmp_path)
    scene.cluster.create(kind, NAMESPACE, {"metadata": {"name": "quiz"}, "spec": {"selector": {"app": "web"}}})
    scene.submit("first")
    scene.evaluate("first", M1, second=1)
    before = dict(scene.cluster.objects)
    serving = scene.look("first")
    assert said(serving) == (False, "NameTaken")
    assert serving is not None
    assert f"{kind.name} {NAMESPACE}/quiz is there already" in serving.message
    written = {place for place in scene.cluster.objects if scene.cluster.objects[place] is not before.get(place)}
    assert written <= {(DISTILLATIONS.plural, NAMESPACE, "first")}


def test_a_deployment_that_changed_meanwhile_is_looked_at_again(scene: Scene) -> None:
    scene.submit("second", policy="Always")
    scene.evaluate("second", M2, second=2)

    def meanwhile() -> None:
        scene.cluster.before_write = lambda: None
        scene.cluster._put(DEPLOYMENTS, NAMESPACE, scene.deployment())

    scene.cluster.before_write = meanwhile
    with pytest.raises(Conflict):
        scene.look("second")
    assert scene.served() == M1
    assert said(scene.look("second")) == (True, "Serving")
    assert scene.served() == M2


DISTILLATION = st.fixed_dictionaries(
    {
        "model": st.sampled_from([M1, M2, M3]),
        "second": st.sampled_from([1, 2, 3]),
        "scores": st.sampled_from([LOW, HIGH, EVEN]),
        "policy": st.sampled_from(["IfBetter", "Always", "Never"]),
        "pin": st.sampled_from([None, None, None, M1, M3]),
        "slots": st.sampled_from([1, 2]),
        "passed": st.sampled_from([True, True, False]),
    }
)


@settings(max_examples=60, deadline=None)
@given(wishes=st.lists(DISTILLATION, min_size=2, max_size=4), seed=st.integers(0, 1000))
def test_whatever_they_want_they_come_to_rest(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[Json], seed: int
) -> None:
    scene = Scene(tmp_path_factory.mktemp("store"))
    names = [f"d{number}" for number in range(len(wishes))]
    for name, wish in zip(names, wishes, strict=True):
        pin = {"pin": f"sha256:{wish['pin']}"} if wish["pin"] else {}
        scene.submit(name, policy=wish["policy"], slots=wish["slots"], **pin)
        scene.evaluate(name, wish["model"], **{key: wish[key] for key in ("second", "scores", "passed")})
    Random(seed).shuffle(names)
    scene.rest(*names)
    for name, wish in zip([f"d{number}" for number in range(len(wishes))], wishes, strict=True):
        scene.submit(name, policy=wish["policy"], slots=wish["slots"])  # the pins go
    scene.rest(*names)
