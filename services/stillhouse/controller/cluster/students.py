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

from stillhouse.artifacts.messages import unpack_as
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
from stillhouse.controller.cluster.promotion import Candidate, Decision, decide
from stillhouse.controller.cluster.serving import (
    STUDENT_LABEL,
    is_available,
    served_candidate,
    store_of,
    student_objects,
)
from stillhouse.controller.cluster.settings import Settings
from stillhouse.controller.cluster.view import Serving
from stillhouse.controller.plan import Plan, PlannedStep, gates_passed
from stillhouse.dataset.paired import PairedDifference, paired_difference
from stillhouse.errors import FailedPrecondition, PermanentError
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
        mine = candidate is not None and decision.model_sha256 == candidate.model_sha256
        own_pin = _digest(pin or "")
        wanted = _wanted(decision.model_sha256, candidate, served, own_pin=own_pin, owner=subject.owner, peers=peers)
        try:
            if wanted is not None:
                because = _because(decision, wanted, served)
                wanted = replace(wanted, served_because=because, served_by=subject.owner.name)
                deployment = self._put(subject, name, wanted, deployment)
            elif deployment is not None and served is not None and (mine or served.model_sha256 == own_pin):
                self._join(subject, deployment)
        except _NameTaken as exc:
            return Serving(is_ours=False, is_ready=False, reason="NameTaken", message=exc.message)
        ready = deployment is not None and is_available(deployment)
        reason = "Serving" if mine and decision.reason == "Promoted" else decision.reason
        note = "" if ready or not mine else self._note(subject.namespace, name)
        return Serving(is_ours=mine, is_ready=ready, reason=reason, message=note or decision.message)

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
        try:
            baseline = _scores(self._open_store(store_of(deployment) or store.uri), old.evaluation_key)
        except PermanentError as exc:
            raise FailedPrecondition(f"what is served can't be compared with: {exc.message}") from exc
        return paired_difference(_scores(store, new.evaluation_key), baseline)

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
        found = [
            (kind, body, self._api.get(kind, subject.namespace, body["metadata"]["name"]))
            for kind, body in zip(_AROUND, around, strict=True)
        ]
        # What stands around it first: a new pod that is ready must be reachable.
        objects = [*found, (DEPLOYMENTS, wanted, deployment)]
        for kind, _, there in objects:
            _check_ours(kind, there, name)
        return [self._apply(kind, subject.namespace, body, there) for kind, body, there in objects][-1]

    def _join(self, subject: Subject, deployment: Json) -> None:
        """The student stays while one who wants its model does. Who sees to it tells the rest of its objects."""
        metadata = deployment["metadata"]
        references = metadata.get("ownerReferences", [])
        if subject.owner.uid in {reference["uid"] for reference in references}:
            return
        owners = [*references, subject.owner.reference()]
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "ownerReferences": owners}}
        self._api.patch(DEPLOYMENTS, subject.namespace, metadata["name"], body)

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


class _NameTaken(FailedPrecondition):
    """Somebody else's object has the student's name."""


def _check_ours(kind: Kind, there: Json | None, student: str) -> None:
    if there is not None and there["metadata"].get("labels", {}).get(STUDENT_LABEL) != student:
        title = f"{kind.name} {there['metadata']['namespace']}/{there['metadata']['name']}"
        raise _NameTaken(f"{title} is there already and is not a student's: give serve.name another value")


def _wanted(
    model_sha256: str,
    candidate: Candidate | None,
    served: Candidate | None,
    *,
    own_pin: str,
    owner: Owner,
    peers: list[Json],
) -> Candidate | None:
    """What this Distillation has to write: its own model, or a pinned one that no other Distillation made."""
    is_served = served is not None and served.model_sha256 == model_sha256
    others = [peer for peer in peers if peer["metadata"]["uid"] != owner.uid]
    if candidate is not None and model_sha256 == candidate.model_sha256:
        kept = served if is_served else None
        return candidate if kept is None or _sees_to(owner.name, candidate, kept, others) else None
    if not own_pin or model_sha256 != own_pin or is_served:
        return None
    if any(_has_made(peer, own_pin) and not peer["spec"].get("suspend") for peer in others):
        return None  # its own Distillation sees to it
    return Candidate(own_pin, evaluation_key="", validation_sha256="", evaluated_at=0.0)


def _sees_to(name: str, candidate: Candidate, served: Candidate, others: list[Json]) -> bool:
    """Of several that made the model that is served, one writes it: else each would undo what the other wrote."""
    if candidate.evaluated_at > served.evaluated_at or served.served_by in ("", name):
        return True
    return not any(
        peer["metadata"]["name"] == served.served_by and _has_made(peer, served.model_sha256) for peer in others
    )


def _has_made(peer: Json, model_sha256: str) -> bool:
    """Whether a Distillation's evaluated model is that one, as far as it has said."""
    status = peer.get("status", {})
    evaluated = any(
        entry["type"] == "Evaluated" and entry["status"] == "True" for entry in status.get("conditions", [])
    )
    return evaluated and status.get("modelSha256") == model_sha256


def _because(decision: Decision, wanted: Candidate, served: Candidate | None) -> str:
    """Why the model is served, for as long as it is."""
    if served is not None and served.model_sha256 == wanted.model_sha256 and served.served_because:
        return served.served_because
    return "it was pinned" if decision.reason == "Pinned" else decision.message


def _candidate(current: Plan) -> Candidate | None:
    evaluation, export = current.step("evaluate"), current.step("export").result(ExportResult)
    compared = _with_own_prompt(current)
    if evaluation.manifest is None or compared.manifest is None or export is None:
        return None
    return Candidate(
        model_sha256=export.model.sha256,
        evaluation_key=compared.key,
        validation_sha256=unpack_as(evaluation.manifest.request, EvaluateRequest).validation.sha256,
        evaluated_at=evaluation.manifest.create_time.ToNanoseconds() / 1e9,
        passed=gates_passed(evaluation),
    )


def _with_own_prompt(current: Plan) -> PlannedStep:
    """The evaluation of what clients get, who send the role's own prompt; beside an optimisation a step of its own."""
    own = (step for step in current.steps if step.name == "evaluate-unoptimized")
    return next(own, current.step("evaluate"))


def _scores(store: Store, key: str) -> dict[str, float]:
    """Scores of an evaluation by row. Raises FailedPrecondition where it is gone, or not of the role's own prompt."""
    manifest = store.read_manifest("evaluate", key)
    if manifest is None:
        raise FailedPrecondition(f"the evaluation {key[:12]} of the model that is served is no longer in {store.uri}")
    if unpack_as(manifest.request, EvaluateRequest).HasField("program"):
        raise FailedPrecondition(
            f"its evaluation {key[:12]} is not of the role's own prompt, by which models are compared"
        )
    lines = store.open_lines(unpack_as(manifest.result, EvaluateResult).rows)
    rows = (json.loads(line) for line in lines if line.strip())
    return {str(row["id"]): float(row["score"]) for row in rows}


def _digest_of(body: Json) -> str:
    stable = {**body, "metadata": {**body["metadata"], "resourceVersion": ""}}
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:16]


def _digest(pin: str) -> str:
    return pin.removeprefix("sha256:")
