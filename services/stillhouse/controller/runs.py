"""The record of a run in the store: distillations/<name>/status.json. Written by the runner, read by the CLI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stillhouse.artifacts.messages import unpack_as
from stillhouse.artifacts.store import Store
from stillhouse.controller.plan import Plan
from stillhouse.errors import DataLoss, FailedPrecondition, NotFound
from stillhouse.spec.models import Distillation
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.exporter_pb2 import ExportResult


@dataclass(frozen=True)
class Run:
    """A Distillation and where its steps stand, as last written."""

    name: str
    store_uri: str
    distillation: dict[str, Any]
    steps: list[dict[str, str]]
    outcome: str
    updated: str


def run_name(namespace: str, name: str) -> str:
    """What the run of a cluster's Distillation is called in the store, which several namespaces may share."""
    return f"{namespace}.{name}"


def run_folder(name: str) -> str:
    """Where what is kept of a run lies in the store."""
    return f"distillations/{name}"


def status_path(name: str) -> str:
    """Where a run's record lies in the store."""
    return f"{run_folder(name)}/status.json"


def write_run(store: Store, distillation: Distillation, plan: Plan, *, name: str | None = None) -> None:
    """Writes the record of a run, whole. `name` is the run's, by default its Distillation's."""
    record = {
        "distillation": distillation.model_dump(mode="json", by_alias=True, exclude_none=True),
        "steps": [
            {
                "name": step.name,
                "stage": step.stage,
                "key": step.key,
                "state": step.state.value,
                "message": step.message,
            }
            for step in plan.steps
        ],
        "outcome": plan.outcome.value if plan.outcome else "",
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    data = json.dumps(record, ensure_ascii=False, indent=1).encode()
    store.put_object(status_path(name or distillation.metadata.name), data)


def find_run(store: Store, name: str) -> Run:
    """The run of that name. Raises NotFound that lists the runs of the store, or DataLoss for a broken record."""
    data = store.read_object(status_path(name))
    if data is None:
        known = ", ".join(list_runs(store)) or "none"
        raise NotFound(f"no run {name!r} in {store.uri}; runs there: {known}")
    try:
        record = json.loads(data)
        return Run(name, store.uri, record["distillation"], record["steps"], record["outcome"], record["updated"])
    except (ValueError, KeyError, TypeError) as exc:
        raise DataLoss(f"{store.uri}/{status_path(name)} is no record of a run; delete it") from exc


def list_runs(store: Store) -> list[str]:
    """Names of all runs of a store, sorted."""
    records = (path for path in store.list_objects("distillations/") if path == status_path(path.split("/")[1]))
    return sorted(path.split("/")[1] for path in records)


def manifest_of(store: Store, run: Run, step_name: str) -> Manifest:
    """The manifest of a run's step. Raises FailedPrecondition if the step is not done."""
    for step in run.steps:
        if step["name"] == step_name and step["key"]:
            manifest = store.read_manifest(step["stage"], step["key"])
            if manifest is not None:
                return manifest
    raise FailedPrecondition(f"run {run.name} has no finished step {step_name!r} yet; `stillhouse status {run.name}`")


def model_of(store: Store, run: Run) -> Artifact:
    """The student's GGUF. Raises FailedPrecondition if it is not exported yet."""
    return unpack_as(manifest_of(store, run, "export").result, ExportResult).model
