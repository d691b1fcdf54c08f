"""A store, a cluster in memory and a reconciler that may be killed: Distillations go to their end here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from fake_cluster import NAMESPACE, SETTINGS, FakeCluster
from planned_world import result_of
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import EVENTS
from stillhouse.controller.cluster.reconcile import Reconciler
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportRequest

Json = dict[str, Any]


class Scene:
    """A cluster, a store and a controller that may be killed and started anew."""

    def __init__(self, directory: Path) -> None:
        self.cluster = FakeCluster()
        self.store = Store.open(str(directory / "store"))
        self.store.put_bytes(b"{}\n", name="rows.jsonl")
        self.rows = self.store.put_bytes(b'{"concept": "x"}\n', name="rows.jsonl")
        self.now = 1_000_000.0
        self.reconciler = self.controller()

    def controller(self) -> Reconciler:
        return Reconciler(self.cluster, SETTINGS, open_store=lambda _uri: self.store, clock=lambda: self.now)

    def spec(self, **changes: Any) -> Json:
        return {
            "role": "product_owner",
            "dataset": {"imports": [{"uri": f"sha256:{self.rows.sha256}"}]},
            **changes,
        }

    def look(self, name: str = "first", times: int = 3) -> float | None:
        """Looks until a look changes nothing more; a killed controller is replaced."""
        again: float | None = 0.0
        for _ in range(times):
            again = self.reconciler.reconcile(NAMESPACE, name)
            if again != 0.0:
                break
        return again

    def job(self) -> Json:
        """The one Job that has not ended."""
        (job,) = [job for job in self.cluster.jobs() if not job.get("status")]
        return job

    def finish(self, *, passed: bool = True) -> str:
        """The one Job under way is done; the name of its stage."""
        job = self.job()
        stage: str = job["metadata"]["labels"]["stillhouse.dev/stage"]
        self.cluster.finish(
            job, self.store, lambda request: _result(stage, request, passed=passed), second=int(self.now)
        )
        self.now += 10
        return stage

    def run(self, name: str = "first") -> list[str]:
        """To the end; the stages in their order."""
        done = []
        self.look(name)
        while self.cluster.status(name)["stage"] not in ("Succeeded", "GatesFailed", "Failed"):
            done.append(self.finish())
            self.look(name)
        return done


def _result(stage: str, request: Message, *, passed: bool) -> Message:
    name = stage
    if isinstance(request, ExportRequest) and not request.HasField("adapter"):
        name = "export-base"
    made = result_of(name, passed=passed)
    if isinstance(request, EvaluateRequest) and isinstance(made, EvaluateResult) and not request.gates:
        made.ClearField("gates")
    return made


def conditions_of(status: Json) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}


def events_of(scene: Scene) -> list[tuple[str, str]]:
    return sorted((event["reason"], event["message"]) for event in scene.cluster.list(EVENTS, NAMESPACE))
