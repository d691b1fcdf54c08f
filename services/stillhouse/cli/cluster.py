"""Which cluster a command is about, and its Distillations: connection, namespace, what is said when it refuses.

Called by the commands that know --cluster. The cluster's client is imported only once there is one to talk to.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    from stillhouse.controller.cluster.api import KubernetesApi

Json = dict[str, Any]

ClusterOption = Annotated[bool, typer.Option("--cluster", help="On a Kubernetes cluster instead of this machine.")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NS", help="With --cluster; default: the context's.")
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="With --cluster: of the kubeconfig; default: its current."),
]
OUTCOMES = frozenset({"Succeeded", "GatesFailed", "Failed", "Invalid", "Suspended"})
"""Words of `status.stage` after which nothing more happens by itself."""
_INVALID = re.compile(
    r"Distillation\.stillhouse\.dev \"[^\"]*\" is invalid: |failed to create typed patch object \([^)]*\): "
)


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster, as one user."""

    api: KubernetesApi
    namespace: str
    context: str | None = None
    options: str = " --cluster"
    """What a command needs to find it again."""


def chosen_cluster(
    asked: bool,
    namespace: str | None,
    context: str | None,
    *,
    file_namespace: str | None = None,
    idle_store: str | None = None,
) -> Cluster | None:
    """The cluster that the options name; None where this machine is meant.

    `file_namespace` is what the user's file says, `idle_store` a --store that a cluster has no use for. Raises
    BadParameter for options that contradict one another, and FailedPrecondition without a cluster.
    """
    if not asked:
        for option, value in (("--namespace", namespace), ("--context", context)):
            if value is not None:
                raise typer.BadParameter("it is for --cluster", param_hint=option)
        return None
    if idle_store is not None:
        raise typer.BadParameter("with --cluster the Distillation says it: leave it out", param_hint="--store")
    if namespace and file_namespace and namespace != file_namespace:
        raise typer.BadParameter(f"the file says {file_namespace} (metadata.namespace)", param_hint="--namespace")
    try:
        from stillhouse.controller.cluster.api import KubernetesApi, default_namespace
    except ImportError as exc:
        raise FailedPrecondition(f"--cluster needs {exc.name}; install stillhouse[cluster]") from exc
    api = KubernetesApi.connect(context=context)
    found = namespace or file_namespace or default_namespace(context=context)
    options = " --cluster" + (f" --namespace {shlex.quote(found)}" if namespace or file_namespace else "")
    return Cluster(api, found, context, options + (f" --context {shlex.quote(context)}" if context else ""))


def find_distillation(cluster: Cluster, name: str) -> Json:
    """The Distillation of that name. Raises NotFound that lists those of the namespace."""
    from stillhouse.controller.cluster.api import DISTILLATIONS

    with explained(cluster):
        body = cluster.api.get(DISTILLATIONS, cluster.namespace, name)
        if body is not None:
            return body
        known = ", ".join(other["metadata"]["name"] for other in cluster.api.list(DISTILLATIONS, cluster.namespace))
    raise NotFound(f"no Distillation {name!r} in namespace {cluster.namespace}; there: {known or 'none'}")


def condition(body: Json, name: str) -> Json:
    """That condition of a Distillation; empty where it has none."""
    conditions = body.get("status", {}).get("conditions", [])
    found: Json = next((entry for entry in conditions if entry["type"] == name), {})
    return found


def is_current(body: Json) -> bool:
    """Whether its status speaks of the spec as it is now."""
    return bool(body.get("status", {}).get("observedGeneration", 0) >= body["metadata"].get("generation", 0))


def has_ended(body: Json) -> bool:
    """Whether nothing more happens to it by itself."""
    return is_current(body) and str(body.get("status", {}).get("stage", "")) in OUTCOMES


@contextmanager
def explained(cluster: Cluster) -> Iterator[None]:
    """What the cluster says of Distillations, with a remedy."""
    try:
        yield
    except NotFound as exc:
        if 'namespaces "' in exc.message:
            raise NotFound(
                f"namespace {cluster.namespace} does not exist: `kubectl create namespace {cluster.namespace}`, or "
                "name another with --namespace"
            ) from exc
        if '"' in exc.message:  # it names an object: the kind is known
            raise
        raise FailedPrecondition(
            "this cluster does not know Distillations: install Stillhouse there (charts/stillhouse/README.md), or name "
            "another one with --context"
        ) from exc
    except PermissionDenied as exc:
        raise PermissionDenied(
            f"{exc.message}; log in to the cluster, or ask for get, list, create and patch of "
            f"distillations.stillhouse.dev in namespace {cluster.namespace}"
        ) from exc
    except InvalidArgument as exc:
        remedy = "; is an earlier version of Stillhouse installed there?" if "not declared" in exc.message else ""
        raise InvalidArgument(_INVALID.sub("the cluster refuses it: ", exc.message) + remedy, field=exc.field) from exc
