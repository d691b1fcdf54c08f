"""A student on the cluster: its Deployment, Services and disruption budget. Pure; called by the reconciler.

A change of model is a rolling update: the new pod is ready before the old one is asked to go, and the old one answers
what it has begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.controller.cluster.jobs import MANAGED, Owner
from stillhouse.controller.cluster.pods import (
    METRICS_PORT,
    STUDENT_PORT,
    environment,
    pod_template,
    resources_of,
    student_container,
)
from stillhouse.controller.cluster.promotion import Candidate
from stillhouse.controller.cluster.settings import Settings
from stillhouse.spec.models import DistillationSpec

Json = dict[str, Any]

STUDENT_LABEL = "stillhouse.dev/student"
_PREFIX = "stillhouse.dev/"
_HEADLESS = "-headless"
_DRAIN_SECONDS = 120
# Endpoints forget a pod that ends only after a moment; until then it takes what is still sent to it.
_ENDPOINT_LAG_SECONDS = 5
_EXIT_SECONDS = 10
_START_PROBES = 900


def student_objects(
    name: str,
    candidate: Candidate,
    spec: DistillationSpec,
    settings: Settings,
    *,
    store_uri: str,
    owners: Sequence[Owner],
    resource_version: str,
) -> tuple[Json, list[Json]]:
    """The Deployment that serves `candidate`, and what stands around it.

    `resource_version` is the Deployment's, as it was when the decision was made; empty where there is none.
    """
    labels = MANAGED | {"app.kubernetes.io/component": "student-inference", STUDENT_LABEL: name}
    common: Json = {"labels": labels, "ownerReferences": [owner.reference() for owner in owners]}
    metadata = common | {"name": name, "annotations": _annotations(candidate, store_uri)}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    deployment = {
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": {STUDENT_LABEL: name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "minReadySeconds": 1,
            "progressDeadlineSeconds": 3600,
            "template": _template(candidate, spec, settings, store_uri, labels),
        },
    }
    port = {"name": "grpc", "port": STUDENT_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"}
    selector = {STUDENT_LABEL: name}
    service = {"metadata": common | {"name": name}, "spec": {"selector": selector, "ports": [port]}}
    headless = {
        "metadata": common | {"name": headless_name(name)},
        "spec": {"selector": selector, "ports": [port], "clusterIP": "None"},
    }
    budget = {
        "metadata": common | {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
    }
    return deployment, [service, headless, budget]


def headless_name(student: str) -> str:
    """Of the Service without an address of its own; a name has 63 characters at most."""
    return f"{student[: 63 - len(_HEADLESS)].rstrip('-')}{_HEADLESS}"


def served_candidate(deployment: Json | None) -> Candidate | None:
    """What a student's Deployment serves."""
    if deployment is None:
        return None
    said = deployment["metadata"].get("annotations", {})
    model = said.get(f"{_PREFIX}model", "")
    if not model:
        return None
    return Candidate(
        model_sha256=model,
        evaluation_key=said.get(f"{_PREFIX}evaluation", ""),
        validation_sha256=said.get(f"{_PREFIX}validation", ""),
        evaluated_at=float(said.get(f"{_PREFIX}evaluated-at", "0")),
        served_because=said.get(f"{_PREFIX}because", ""),
        served_by=said.get(f"{_PREFIX}distillation", ""),
    )


def store_of(deployment: Json) -> str:
    """The store in which the evaluation of the served model lies."""
    uri: str = deployment["metadata"].get("annotations", {}).get(f"{_PREFIX}store", "")
    return uri


def is_available(deployment: Json) -> bool:
    """Whether the latest model answers, and nothing else."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("availableReplicas", 0) >= wanted
        and status.get("replicas", 0) == status.get("updatedReplicas", 0)
    )


def _annotations(candidate: Candidate, store_uri: str) -> dict[str, str]:
    return {
        f"{_PREFIX}model": candidate.model_sha256,
        f"{_PREFIX}evaluation": candidate.evaluation_key,
        f"{_PREFIX}validation": candidate.validation_sha256,
        f"{_PREFIX}evaluated-at": repr(candidate.evaluated_at),  # exact: who comes later is decided by it
        f"{_PREFIX}store": store_uri,
        f"{_PREFIX}because": candidate.served_because,
        f"{_PREFIX}distillation": candidate.served_by,
    }


def _template(
    candidate: Candidate, spec: DistillationSpec, settings: Settings, store_uri: str, labels: Mapping[str, str]
) -> Json:
    resources = resources_of("serve", spec.resources, settings)
    container = student_container(
        candidate.model_sha256,
        store_uri,
        slots=spec.serve.slots,
        context_tokens=spec.serve.context_tokens,
        settings=settings,
        resources=resources,
    )
    container["command"] += ["--host", "0.0.0.0", "--allow-plaintext"]  # noqa: S104 - a NetworkPolicy guards it
    own = {"STILLHOUSE_METRICS_PORT": METRICS_PORT, "STILLHOUSE_DRAIN_SECONDS": _DRAIN_SECONDS}
    container["env"] = environment(
        container["env"], [{"name": name, "value": str(value)} for name, value in own.items()]
    )
    container["ports"] = [
        {"name": "grpc", "containerPort": STUDENT_PORT},
        {"name": "metrics", "containerPort": METRICS_PORT},
    ]
    probe = {"grpc": {"port": STUDENT_PORT}, "timeoutSeconds": 5}
    container["startupProbe"] = probe | {"periodSeconds": 2, "failureThreshold": _START_PROBES}
    container["readinessProbe"] = probe | {"periodSeconds": 5}
    container["livenessProbe"] = probe | {"periodSeconds": 30, "failureThreshold": 10}
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": _ENDPOINT_LAG_SECONDS}}}
    return pod_template(
        [container],
        labels=labels,
        settings=settings,
        resources=resources,
        account=settings.service_accounts.stage,
        grace_seconds=_ENDPOINT_LAG_SECONDS + _DRAIN_SECONDS + _EXIT_SECONDS,
    )
