"""Pods of stages and students, as the `restricted` Pod Security Standard wants them. Pure; called by jobs and serving.

It must not know plans or manifests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.controller.cluster.settings import Settings
from stillhouse.errors import InvalidArgument
from stillhouse.spec.resources import StageResources, parse_pod_patch

Json = dict[str, Any]

USER = 65532
STUDENT_CONTAINER = "student"
STUDENT_PORT = 50051
METRICS_PORT = 9090
_SCRATCH = "/tmp"  # noqa: S108 - the one writable folder of a pod, its own
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def resources_of(stage: str, own: Mapping[Any, StageResources], settings: Settings) -> StageResources:
    """What a Distillation says of a stage's pods, over what the installation says, field by field."""
    installed: Mapping[Any, StageResources] = settings.resources
    base = installed.get(stage, StageResources())
    over = own.get(stage, StageResources())
    given = {name: value for name in StageResources.model_fields if (value := getattr(over, name)) is not None}
    return base.model_copy(update=given)


def container(name: str, service: str, arguments: Sequence[str], settings: Settings, resources: StageResources) -> Json:
    """A container of `python -m stillhouse.<service>`; what it may use is `resources`."""
    limits = resources.limits or {}
    return {
        "name": name,
        "image": settings.image_of(service),
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", f"stillhouse.{service}", *arguments],
        "env": environment(_threads(name) if "cpu" in limits else [], settings.env),
        "envFrom": list(settings.env_from),
        "resources": {
            field: values
            for field, values in (("requests", resources.requests), ("limits", resources.limits))
            if values
        },
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": [{"name": "scratch", "mountPath": _SCRATCH}],
    }


def student_container(
    model_sha256: str, store_uri: str, *, slots: int, context_tokens: int, settings: Settings, resources: StageResources
) -> Json:
    """A server of that model."""
    arguments = ["serve", "--model", f"sha256:{model_sha256}", "--store", store_uri, "--port", str(STUDENT_PORT)]
    arguments += ["--parallel", str(slots), "--context", str(context_tokens)]
    return container(STUDENT_CONTAINER, "student_inference", arguments, settings, resources)


def pod_template(
    containers: Sequence[Json],
    *,
    labels: Mapping[str, str],
    settings: Settings,
    resources: StageResources,
    account: str,
    sidecars: Sequence[Json] = (),
    volumes: Sequence[Json] = (),
    grace_seconds: int,
    restart_policy: str | None = None,
) -> Json:
    """The template of a Job or Deployment. Raises InvalidArgument for a podPatch that is no YAML mapping."""
    spec: Json = {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
    }
    optional = {
        "restartPolicy": restart_policy,
        "initContainers": [{**sidecar, "restartPolicy": "Always"} for sidecar in sidecars],
        "imagePullSecrets": list(settings.image_pull_secrets),
        "nodeSelector": resources.node_selector,
        "tolerations": [toleration.model_dump(by_alias=True, exclude_none=True) for toleration in resources.tolerations]
        if resources.tolerations
        else None,
        "priorityClassName": resources.priority_class_name,
        "runtimeClassName": resources.runtime_class_name,
    }
    spec |= {name: value for name, value in optional.items() if value}
    if resources.pod_patch:
        spec = merged(spec, parse_patch(resources.pod_patch))
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def parse_patch(text: str) -> Json:
    """The mapping in a podPatch. Raises InvalidArgument."""
    try:
        return parse_pod_patch(text)
    except ValueError as exc:
        raise InvalidArgument(f"podPatch: {exc}", field="podPatch") from exc


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386), but lists of things with names are merged by name, as Kubernetes does: mounts by
    where they are.
    """
    if isinstance(patch, dict):
        target = target if isinstance(target, dict) else {}
        result = {key: value for key, value in target.items() if patch.get(key, value) is not None}
        return result | {key: merged(target.get(key), value) for key, value in patch.items() if value is not None}
    for field in ("mountPath", "name"):
        if _all_have(field, target) and _all_have(field, patch):
            new = {entry[field]: entry for entry in patch}
            kept = [merged(entry, new.pop(entry[field], {})) for entry in target]
            return [*kept, *(merged({}, entry) for entry in new.values())]
    return patch


def _all_have(field: str, value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, dict) and isinstance(entry.get(field), str) for entry in value)
    )


def environment(*parts: Sequence[Json]) -> list[Json]:
    """One list of EnvVars; the later of two with one name stands. Kubernetes applies no list that names one twice."""
    return list({entry["name"]: entry for part in parts for entry in part}.values())


def _threads(container_name: str) -> list[Json]:
    """As many threads as processors: a library that counts the node's would crawl under a limit."""
    source = {"resourceFieldRef": {"containerName": container_name, "resource": "limits.cpu"}}
    return [{"name": name, "valueFrom": source} for name in ("OMP_NUM_THREADS", "STILLHOUSE_THREADS")]
