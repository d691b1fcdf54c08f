"""Students of a namespace: which model each Service serves, decided and carried out. Called by the reconciler.

`promotion` decides and `serving` says what the objects look like; here is what is read and written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    DISTILLATIONS,
    PODS,
    SERVICES,
    Kind,
    KubernetesApi,
)
from stillhouse.controller.cluster.jobs import TEMPLATE_ANNOTATION, Owner
from stillhouse.controller.cluster.observing import pod_note
from stillhouse.controller.cluster.promotion import Candidate, decide
from stillhouse.controller.cluster.serving import (
    STUDENT_LABEL,
    is_available,
    served_candidate,
    store_of,
    student_objects,
)
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.cluster.status import Serving
from stillhouse.controller.plan import Plan, StepState, gates_passed
from stillhouse.dataset.paired import PairedDifference, paired_difference
from stillhouse.errors import FailedPrecondition
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult

if TYPE_CHECKING:
    from stillhouse.controller.cluster.reconcile import Subject

Json = dict[str, Any]
_AROUND = (SERVICES, SERVICES, DISRUPTION_BUDGETS)
_log = structlog.get_logger("stillhouse.controller")


class Students:
    """The students that Distillations feed."""

    def __init__(self, api: KubernetesApi, settings: Settings, open_store: Callable[[str], Store]) -> None:
        """Acts through `api`."""
        self._api = api
        self._settings = settings
        self._open_store = open_store

    def serve(self, subject: Subject, current: Plan) -> Serving | None:
        """Decides what the Distillation's student serves, and sees to it; None while it has no evaluated model.

        Raises Conflict where the Deployment changed meanwhile.
        """
        name = student_name(subject.body)
        candidate = _candidate(current)
        pin = subject.distillation.spec.serve.pin
        if candidate is None and pin is None:
            return None
        peers = self._peers(subject.namespace, name)
        deployment = self._api.get(DEPLOYMENTS, subject.namespace, name)
        served = served_candidate(deployment)
        pins = [_digest(peer["spec"]["serve"]["pin"]) for peer in peers if peer["spec"].get("serve", {}).get("pin")]
        decision = decide(
            candidate,
            served,
            policy=subject.distillation.spec.serve.policy,
            pins=pins,
            compare=lambda new, old: self._compare(subject.store, new, deployment or {}, old),
        )
        wanted = _wanted(decision.model_sha256, candidate, served, own_pin=_digest(pin or ""), peers=peers)
        if wanted is not None:
            because = decision.message
            deployment = self._put(subject, name, replace(wanted, served_because=because), deployment)
        ours = candidate is not None and decision.model_sha256 == candidate.model_sha256
        ready = deployment is not None and is_available(deployment)
        reason = "Serving" if ours and decision.reason == "Promoted" else decision.reason
        note = "" if ready or not ours else self._note(subject.namespace, name)
        return Serving(is_ours=ours, is_ready=ready, reason=reason, message=note or decision.message)

    @staticmethod
    def validation_of(current: Plan) -> str:
        """Digest of the rows on which the student was evaluated; empty while it was not."""
        candidate = _candidate(current)
        return candidate.validation_sha256 if candidate else ""

    def _note(self, namespace: str, name: str) -> str:
        """Why the newest pod of a student does not get going."""
        pods = self._api.list(PODS, namespace, labels=f"{STUDENT_LABEL}={name}")
        newest = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)
        return pod_note(newest) if newest is not None else ""

    def _peers(self, namespace: str, name: str) -> list[Json]:
        """All Distillations that feed that student."""
        return [
            body
            for body in self._api.list(DISTILLATIONS, namespace)
            if student_name(body) == name and not body["metadata"].get("deletionTimestamp")
        ]

    def _compare(self, store: Store, new: Candidate, deployment: Json, old: Candidate) -> PairedDifference:
        old_store = self._open_store(store_of(deployment) or store.uri)
        return paired_difference(_scores(store, new.evaluation_key), _scores(old_store, old.evaluation_key))

    def _put(self, subject: Subject, name: str, candidate: Candidate, deployment: Json | None) -> Json:
        """Sees to the objects; returns the Deployment."""
        metadata = (deployment or {}).get("metadata", {})
        owners = {
            reference["uid"]: Owner(reference["name"], reference["uid"])
            for reference in metadata.get("ownerReferences", [])
        }
        owners[subject.owner.uid] = subject.owner
        wanted, around = student_objects(
            name,
            candidate,
            subject.distillation.spec,
            self._settings,
            store_uri=subject.store.uri,
            owners=list(owners.values()),
            resource_version=metadata.get("resourceVersion", ""),
        )
        # What stands around it first: a new pod that is ready must be reachable.
        for kind, body in zip(_AROUND, around, strict=True):
            there = self._api.get(kind, subject.namespace, body["metadata"]["name"])
            self._apply(kind, subject.namespace, body, there)
        return self._apply(DEPLOYMENTS, subject.namespace, wanted, deployment)

    def _apply(self, kind: Kind, namespace: str, wanted: Json, there: Json | None) -> Json:
        """Writes an object unless it was written like this before."""
        digest = _digest_of(wanted)
        if there is not None and there["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION) == digest:
            return there
        annotations = {**wanted["metadata"].get("annotations", {}), TEMPLATE_ANNOTATION: digest}
        body = {**wanted, "metadata": {**wanted["metadata"], "annotations": annotations}}
        _log.info("student changed", kind=kind.name, name=wanted["metadata"]["name"], namespace=namespace)
        return self._api.apply(kind, namespace, body)


def student_name(body: Mapping[str, Any]) -> str:
    """Of the student that a Distillation feeds."""
    named: str = body["spec"].get("serve", {}).get("name") or body["metadata"]["name"]
    return named


def _wanted(
    model_sha256: str, candidate: Candidate | None, served: Candidate | None, *, own_pin: str, peers: list[Json]
) -> Candidate | None:
    """What this Distillation has to write: its own model, or a pinned one that no other Distillation made."""
    if candidate is not None and model_sha256 == candidate.model_sha256:
        return candidate
    if not own_pin or model_sha256 != own_pin:
        return None
    if served is not None and served.model_sha256 == own_pin:
        return None
    if any(peer.get("status", {}).get("modelSha256") == own_pin for peer in peers):
        return None  # its own Distillation sees to it
    return Candidate(own_pin, evaluation_key="", validation_sha256="", evaluated_at=0.0)


def _candidate(current: Plan) -> Candidate | None:
    steps = {step.name: step for step in current.steps}
    evaluation, export = steps.get("evaluate"), steps["export"]
    if evaluation is None or evaluation.state is not StepState.DONE:
        return None
    if evaluation.manifest is None or export.manifest is None:
        return None
    result, request = ExportResult(), EvaluateRequest()
    export.manifest.result.Unpack(result)
    evaluation.manifest.request.Unpack(request)
    return Candidate(
        model_sha256=result.model.sha256,
        evaluation_key=evaluation.key,
        validation_sha256=request.validation.sha256,
        evaluated_at=evaluation.manifest.create_time.ToNanoseconds() / 1e9,
        passed=gates_passed(evaluation),
    )


def _scores(store: Store, key: str) -> dict[str, float]:
    """Scores of an evaluation by row."""
    manifest = store.read_manifest("evaluate", key)
    if manifest is None:
        raise FailedPrecondition(f"the evaluation {key[:12]} of the model that is served is no longer in {store.uri}")
    result = EvaluateResult()
    manifest.result.Unpack(result)
    rows = (json.loads(line) for line in store.open_lines(result.rows) if line.strip())
    return {str(row["id"]): float(row["score"]) for row in rows}


def _digest_of(body: Json) -> str:
    stable = {**body, "metadata": {**body["metadata"], "resourceVersion": ""}}
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:16]


def _digest(pin: str) -> str:
    return pin.removeprefix("sha256:")
