"""Students on a cluster in memory: who serves, who keeps, and that nobody undoes what another wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_cluster import NAMESPACE, SETTINGS, FakeCluster
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import DEPLOYMENTS, DISRUPTION_BUDGETS, DISTILLATIONS, SERVICES, Conflict
from stillhouse.controller.cluster.reconcile import Subject
from stillhouse.controller.cluster.status import Serving
from stillhouse.controller.cluster.students import Students
from stillhouse.controller.plan import Plan, PlannedStep, StepState
from stillhouse.controller.requests import Inputs
from stillhouse.errors import PermissionDenied
from stillhouse.spec.loading import parse_distillation
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult, GateResult
from stillhouse.v1.exporter_pb2 import ExportResult

Json = dict[str, Any]
LOW = {f"row-{number}": 0.5 + number / 1000 for number in range(40)}
HIGH = {row: score + 0.1 for row, score in LOW.items()}
EVEN = {row: score + (0.1 if number % 2 else -0.1) for number, (row, score) in enumerate(LOW.items())}
M1, M2, M3 = (digit * 64 for digit in "123")


class Scene:
    """Distillations whose evaluations are recorded in a store; all of them feed the student `quiz`."""

    def __init__(self, directory: Path) -> None:
        self.cluster = FakeCluster()
        self.store = Store.open(str(directory))
        self.open_store: Callable[[str], Store] = lambda _uri: self.store
        self.students = Students(self.cluster, SETTINGS, lambda uri: self.open_store(uri))
        self.made: dict[str, tuple[Plan, str]] = {}

    def submit(self, name: str, **serve: Any) -> None:
        resources = serve.pop("resources", {})
        spec = {"role": "product_owner", "dataset": {"imports": [{"uri": "sha256:" + "0" * 64}]}}
        self.cluster.submit(name, {**spec, "serve": {"name": "quiz", **serve}, "resources": resources})

    def evaluate(
        self,
        name: str,
        model: str,
        *,
        second: float,
        scores: dict[str, float] | None = None,
        rows: str = "f",
        passed: bool = True,
    ) -> None:
        """Its evaluation is done."""
        lines = [json.dumps({"id": row, "score": score}) for row, score in (scores or LOW).items()]
        blob = self.store.put_bytes("\n".join(lines).encode(), name="rows.jsonl")
        key = hashlib.sha256(f"{name}/{model}/{second}/{lines}".encode()).hexdigest()
        evaluation = Manifest(stage="evaluate", key=key)
        evaluation.create_time.FromNanoseconds(round(second * 1e9))
        evaluation.request.Pack(EvaluateRequest(validation=Artifact(sha256=rows * 64)))
        evaluation.result.Pack(EvaluateResult(passed=passed, rows=blob, gates=[GateResult(passed=passed)]))
        self.store.commit_manifest(evaluation)
        export = Manifest(stage="export", key="e" * 64)
        export.result.Pack(ExportResult(model=Artifact(sha256=model)))
        steps = [("export", "exporter", export), ("evaluate", "evaluator", evaluation)]
        self.made[name] = (_plan(steps), model)

    def look(self, name: str) -> Serving | None:
        body = self.cluster.get(DISTILLATIONS, NAMESPACE, name)
        assert body is not None
        document = {key: body[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}
        subject = Subject(body, parse_distillation(document, source=name), self.store, Inputs(()))
        plan, model = self.made.get(name, (_plan([("export", "exporter", None), ("evaluate", "evaluator", None)]), ""))
        serving = self.students.serve(subject, plan)
        if model:
            status = {"modelSha256": model, "conditions": [{"type": "Evaluated", "status": "True"}]}
            self.cluster.objects[DISTILLATIONS.plural, NAMESPACE, name]["status"] = status
        return serving

    def rest(self, *names: str) -> None:
        """Looks at all until nothing is written any more."""
        for _ in range(6):
            before = len(self.cluster.writes)
            for name in names:
                self.look(name)
            if len(self.cluster.writes) == before:
                return
        raise AssertionError(f"they never rest: {self.cluster.writes[-8:]}")

    def deployment(self) -> Json:
        found = self.cluster.get(DEPLOYMENTS, NAMESPACE, "quiz")
        assert found is not None
        return found

    def served(self) -> str:
        (container,) = self.deployment()["spec"]["template"]["spec"]["containers"]
        command: list[str] = container["command"]
        return command[command.index("--model") + 1].removeprefix("sha256:")

    def owners(self) -> list[str]:
        return [owner["name"] for owner in self.deployment()["metadata"]["ownerReferences"]]


def _plan(steps: list[tuple[str, str, Manifest | None]]) -> Plan:
    return Plan(
        tuple(
            PlannedStep(
                name,
                service,
                name,
                StepState.DONE if manifest else StepState.WAITING,
                key=manifest.key if manifest else "",
                manifest=manifest,
            )
            for name, service, manifest in steps
        ),
        (),
        None,
    )


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.submit("first")
    made.evaluate("first", M1, second=1)
    made.look("first")
    return made


def said(serving: Serving | None) -> tuple[bool, str]:
    assert serving is not None
    return serving.is_ours, serving.reason


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


def test_a_pin_holds_and_going_back_needs_no_evaluation(scene: Scene) -> None:
    scene.submit("second", policy="Always")
    scene.evaluate("second", M2, second=2)
    scene.rest("second", "first")
    scene.submit("second", policy="Always", pin=f"sha256:{M1}")
    scene.rest("second", "first")
    assert scene.served() == M1
    assert said(scene.look("second")) == (False, "Pinned")
    assert said(scene.look("first")) == (True, "Pinned")
    scene.submit("third", policy="Always")
    scene.evaluate("third", M3, second=3)
    assert said(scene.look("third")) == (False, "Pinned")
    scene.submit("second", policy="Always")
    scene.rest("first", "second", "third")
    assert scene.served() == M3


def test_a_pinned_model_that_nobody_has_made_is_served_all_the_same(scene: Scene) -> None:
    scene.submit("first", pin=f"sha256:{M3}")
    scene.rest("first")
    assert scene.served() == M3
    scene.submit("first", policy="Always")
    scene.rest("first")
    assert scene.served() == M1


def test_a_pin_needs_no_model_of_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.submit("first")
    assert scene.look("first") is None
    scene.submit("first", pin=f"sha256:{M3}")
    assert said(scene.look("first")) == (False, "Pinned")
    assert scene.served() == M3


@pytest.mark.parametrize("maker", [{"suspend": True}, {"unevaluated": True}])
def test_who_can_not_see_to_a_pinned_model_is_not_waited_for(scene: Scene, maker: Json) -> None:
    scene.submit("second", policy="Never")
    scene.evaluate("second", M2, second=2)
    scene.look("second")
    second = scene.cluster.objects[DISTILLATIONS.plural, NAMESPACE, "second"]
    if maker.get("suspend"):
        second["spec"]["suspend"] = True
    else:
        second["status"]["conditions"] = []
    scene.submit("first", pin=f"sha256:{M2}")
    scene.look("first")
    assert scene.served() == M2


def test_pins_that_disagree_change_nothing(scene: Scene) -> None:
    scene.submit("first", pin=f"sha256:{M2}")
    scene.submit("second", pin=f"sha256:{M3}")
    before = scene.deployment()
    assert said(scene.look("first")) == (True, "PinsDisagree")
    assert said(scene.look("second")) == (False, "PinsDisagree")
    assert scene.deployment() == before


def test_why_a_model_is_served_outlives_its_pin(scene: Scene) -> None:
    scene.submit("first", pin=f"sha256:{M1}")
    scene.rest("first")
    scene.submit("first")
    serving = scene.look("first")
    assert serving is not None
    assert serving.message == f"{M1[:12]} is the first"
    scene.submit("first", pin=f"sha256:{M3}")
    scene.rest("first")
    scene.evaluate("first", M3, second=5)
    scene.submit("first")
    serving = scene.look("first")
    assert serving is not None
    assert "pin holds" not in serving.message


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
