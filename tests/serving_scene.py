"""Distillations with recorded evaluations that all feed one student, for tests of who is served."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_cluster import NAMESPACE, SETTINGS, FakeCluster
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import DEPLOYMENTS, DISTILLATIONS
from stillhouse.controller.cluster.reconcile import Subject
from stillhouse.controller.cluster.students import Students
from stillhouse.controller.cluster.view import Serving
from stillhouse.controller.plan import Plan, PlannedStep, StepState
from stillhouse.controller.requests import Inputs
from stillhouse.spec.loading import parse_distillation
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult, GateResult
from stillhouse.v1.exporter_pb2 import ExportResult

Json = dict[str, Any]
Step = tuple[str, str, Manifest | None]
LOW = {f"row-{number}": 0.5 + number / 1000 for number in range(40)}
HIGH = {row: score + 0.1 for row, score in LOW.items()}
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
        own_prompt: dict[str, float] | None = None,
    ) -> None:
        """Its evaluation is done; with a program where there are scores of the role's `own_prompt` beside it."""
        said = f"{name}/{model}/{second}/{scores}"
        request = EvaluateRequest(validation=Artifact(sha256=rows * 64))
        steps: list[Step] = []
        if own_prompt is not None:
            plain = self._evaluation(f"{said}/own", request, own_prompt, second=second + 0.25)
            steps.append(("evaluate-unoptimized", "evaluator", plain))
            request.program.sha256 = "c" * 64
        evaluation = self._evaluation(said, request, scores or LOW, second=second, passed=passed)
        export = Manifest(stage="export", key="e" * 64)
        export.result.Pack(ExportResult(model=Artifact(sha256=model)))
        steps += [("export", "exporter", export), ("evaluate", "evaluator", evaluation)]
        self.made[name] = (_plan(steps), model)

    def _evaluation(
        self, said: str, request: EvaluateRequest, scores: dict[str, float], *, second: float, passed: bool = True
    ) -> Manifest:
        """Committed to the store, under a key of its own for what is `said` of it."""
        lines = [json.dumps({"id": row, "score": score}) for row, score in scores.items()]
        blob = self.store.put_bytes("\n".join(lines).encode(), name="rows.jsonl")
        evaluation = Manifest(stage="evaluate", key=hashlib.sha256(said.encode()).hexdigest())
        evaluation.create_time.FromNanoseconds(round(second * 1e9))
        evaluation.request.Pack(request)
        evaluation.result.Pack(EvaluateResult(passed=passed, rows=blob, gates=[GateResult(passed=passed)]))
        self.store.commit_manifest(evaluation)
        return evaluation

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


def _plan(steps: list[Step]) -> Plan:
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


def said(serving: Serving | None) -> tuple[bool, str]:
    assert serving is not None
    return serving.is_ours, serving.reason
