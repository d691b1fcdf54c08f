"""One look at one Distillation: read, plan, act, say. Level-based: it remembers nothing that it could not read again.

Called by the shell, a name at a time; every write of it may be the last one before the controller dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster import deletion, jobs
from stillhouse.controller.cluster.api import DISTILLATIONS, EVENTS, Conflict, KubernetesApi
from stillhouse.controller.cluster.backend import ClusterBackend
from stillhouse.controller.cluster.events import event, happenings
from stillhouse.controller.cluster.jobs import Owner
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.cluster.sources import Sources
from stillhouse.controller.cluster.status import invalid_status, status_of
from stillhouse.controller.cluster.students import Students
from stillhouse.controller.cluster.timestamps import timestamp
from stillhouse.controller.cluster.traces import record_outcome, trace_parent
from stillhouse.controller.cluster.view import Job, View
from stillhouse.controller.plan import Plan, PlannedStep, Start, StepState, Stop, plan
from stillhouse.controller.requests import Inputs, check
from stillhouse.controller.runs import run_name, write_run
from stillhouse.errors import InvalidArgument, PermanentError
from stillhouse.rpc.operation import read_progress
from stillhouse.spec.loading import parse_distillation
from stillhouse.spec.models import Distillation
from stillhouse.v1.artifact_pb2 import Manifest

Json = dict[str, Any]
Clock = Callable[[], float]
OnStatus = Callable[[str, str, Json | None], None]

IDLE_SECONDS = 600.0
_log = structlog.get_logger("stillhouse.controller")


@dataclass(frozen=True)
class Subject:
    """The Distillation that is looked at."""

    body: Json
    distillation: Distillation
    store: Store
    inputs: Inputs

    @property
    def owner(self) -> Owner:
        """As what it owns refers to it."""
        return Owner(self.body["metadata"]["name"], self.body["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        """Its own."""
        namespace: str = self.body["metadata"]["namespace"]
        return namespace


class Reconciler:
    """Carries Distillations on. Safe to call from several threads for different names."""

    def __init__(
        self,
        api: KubernetesApi,
        settings: Settings,
        *,
        open_store: Callable[[str], Store] = Store.open,
        clock: Clock = time.time,
        on_status: OnStatus = lambda _namespace, _name, _status: None,
    ) -> None:
        """`clock` gives seconds since the epoch.

        `on_status` hears namespace, name and status of every look; None of a Distillation that is gone.
        """
        self._api = api
        self._settings = settings
        self._open_store = open_store
        self._clock = clock
        self._on_status = on_status
        self._sources = Sources()
        self._students = Students(api, settings, open_store)
        self._manifests: dict[str, FoundManifests] = {}

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One look; seconds until the next one, None where there is nothing to come.

        Raises TemporaryError where the cluster or the store can't be reached: try again later.
        """
        run = run_name(namespace, name)
        body = self._api.get(DISTILLATIONS, namespace, name)
        if body is None:
            self._sources.forget(run)
            self._manifests.pop(run, None)
            self._on_status(namespace, name, None)
            return None
        try:
            if body["metadata"].get("deletionTimestamp"):
                return deletion.carry_out(self._api, body, self._store(body))
            subject = self._subject(body, run)
            deletion.hold(self._api, body, subject.distillation.spec)
            return self._carry_on(subject, run)
        except Conflict:
            return 0.0  # somebody wrote meanwhile: look again
        except PermanentError as exc:
            reason = "InvalidSpec" if isinstance(exc, InvalidArgument) else type(exc).__name__
            previous = body.get("status", {})
            generation = body["metadata"]["generation"]
            self._say(body, invalid_status(reason, exc.message, generation, previous, now=self._now()))
            return IDLE_SECONDS

    def _subject(self, body: Json, run: str) -> Subject:
        document = {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "metadata": {"name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"]},
            "spec": body["spec"],
        }
        distillation = parse_distillation(document, source=f"Distillation {run}")
        check(distillation.spec)
        jobs.check(distillation.spec)
        store = self._store(body)
        return Subject(body, distillation, store, self._sources.inputs(run, distillation.spec, store))

    def _store(self, body: Json) -> Store:
        uri = body["spec"].get("store") or self._settings.store
        if not uri:
            raise InvalidArgument("no store: name one in spec.store, or give the installation one", field="spec.store")
        if uri.startswith(("file:", "memory:", "/")) or "://" not in uri:
            raise InvalidArgument(f"spec.store: {uri} is not for a cluster: name s3://, gs:// or az://")
        return self._open_store(uri)

    def _carry_on(self, subject: Subject, run: str) -> float:
        spec = subject.distillation.spec
        backend = ClusterBackend(
            self._api,
            subject.namespace,
            subject.owner,
            spec,
            self._settings,
            subject.store,
            now=self._clock(),
            trace_parent=trace_parent(subject.body),
        )
        manifests = self._manifests.setdefault(run, FoundManifests(subject.store))
        manifests.use(subject.store)
        current = plan(
            spec,
            subject.inputs,
            manifests,
            backend.observe(),
            now=self._clock(),
            capacity=self._settings.jobs_per_distillation,
        )
        _act(current, backend)
        serving = None if spec.suspend else self._students.serve(subject, current)
        view = View(
            plan=current,
            generation=subject.body["metadata"]["generation"],
            store_uri=subject.store.uri,
            suspended=spec.suspend,
            validation_sha256=self._students.validation_of(current),
            jobs={step.name: _job(step, backend) for step in current.steps if step.key},
            progress={
                step.name: progress
                for step in current.steps
                if step.state is StepState.RUNNING and (progress := read_progress(subject.store, step.key)) is not None
            },
            serving=serving,
        )
        previous = subject.body.get("status", {})
        status = status_of(view, previous, now=self._now())
        if _states(status) != _states(previous):
            write_run(subject.store, subject.distillation, current, name=run)
        self._say(subject.body, status)
        if backend.acted:
            return 0.0
        ended = current.outcome is not None and (serving is None or serving.is_ready or not serving.is_ours)
        return IDLE_SECONDS if ended else self._settings.resync_seconds

    def _say(self, body: Json, status: Json) -> None:
        """Events first: whoever dies between them and the status says them again, under the same names."""
        previous = body.get("status", {})
        self._on_status(body["metadata"]["namespace"], body["metadata"]["name"], status)
        if status == previous:
            return
        stamp = timestamp(self._now())
        namespace = body["metadata"]["namespace"]
        for happening in happenings(previous, status):
            try:
                self._api.create(EVENTS, namespace, event(happening, body, stamp=stamp))
            except Conflict:
                continue
            _log.info(
                "event",
                distillation=f"{namespace}/{body['metadata']['name']}",
                reason=happening.reason,
                message=happening.message,
            )
        self._api.replace_status(DISTILLATIONS, namespace, {**body, "status": status})
        record_outcome(body, status, end_seconds=self._clock())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


class FoundManifests:
    """Manifests of one Distillation; one that was found is not read again: it never changes."""

    def __init__(self, store: Store) -> None:
        """Of that store."""
        self._store = store
        self._found: dict[str, Manifest] = {}

    def use(self, store: Store) -> None:
        """From now on those of `store`."""
        if store.uri != self._store.uri:
            self._found.clear()
        self._store = store

    def __call__(self, stage: str, key: str) -> Manifest | None:
        """The manifest, or None."""
        found = self._found.get(key) or self._store.read_manifest(stage, key)
        if found is not None:
            self._found[key] = found
        return found


def _act(current: Plan, backend: ClusterBackend) -> None:
    """Does what the plan says, and sees to Jobs that have ended."""
    for action in current.actions:
        match action:
            case Start(step):
                backend.start(step)
            case Stop(key):
                backend.stop(key)
    for step in current.steps:
        if step.state in (StepState.FAILED, StepState.RUNNING):
            backend.forget_outdated(step)
        elif step.state is StepState.DONE:
            backend.let_go(step.key)


def _job(step: PlannedStep, backend: ClusterBackend) -> Job:
    state, note = backend.note(step.key) if step.state is not StepState.DONE else ("", "")
    return Job(backend.job_name(step.key), state, note)


def _states(status: Json) -> list[tuple[str, str, str]]:
    return [(step["name"], step.get("key", ""), step["state"]) for step in status.get("steps", [])] + [
        ("", "", status.get("stage", ""))
    ]
