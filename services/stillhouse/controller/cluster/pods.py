"""Pods of stages and students, as the `restricted` Pod Security Standard wants them. Pure; called by jobs and serving.

It must not know plans or manifests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from stillhouse.controller.cluster.settings import Settings
from stillhouse.errors import InvalidArgument
from stillhouse.spec.resources import StageResources

Json = dict[str, Any]

USER = 65532
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
    env = [*settings.env, *(_threads(name) if "cpu" in limits else [])]
    return {
        "name": name,
        "image": settings.image_of(service),
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", f"stillhouse.{service}", *arguments],
        "env": env,
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
    return container("student", "student_inference", arguments, settings, resources)


def pod_template(
    containers: Sequence[Json],
    *,
    labels: Mapping[str, str],
    settings: Settings,
    resources: StageResources,
    account: str,
    sidecars: Sequence[Json] = (),
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
        "volumes": [{"name": "scratch", "emptyDir": {}}],
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
        patch = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"podPatch is not YAML: {' '.join(str(exc).split())}", field="podPatch") from exc
    if not isinstance(patch, dict):
        raise InvalidArgument("podPatch is no mapping of a pod's fields", field="podPatch")
    return patch


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386), but lists of things with names are merged by name, as Kubernetes does."""
    if isinstance(target, dict) and isinstance(patch, dict):
        result = {key: value for key, value in target.items() if patch.get(key, value) is not None}
        return result | {key: merged(target.get(key), value) for key, value in patch.items() if value is not None}
    if _named(target) and _named(patch):
        names = {entry["name"]: entry for entry in patch}
        kept = [merged(entry, names.pop(entry["name"], {})) for entry in target]
        return [*kept, *(entry for entry in patch if entry["name"] in names)]
    return patch


def _named(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(entry, dict) and "name" in entry for entry in value)
    )


def _threads(container_name: str) -> list[Json]:
    """As many threads as processors: a library that counts the node's would crawl under a limit."""
    source = {"resourceFieldRef": {"containerName": container_name, "resource": "limits.cpu"}}
    return [{"name": name, "valueFrom": source} for name in ("OMP_NUM_THREADS", "STILLHOUSE_THREADS")]
