"""The API server, as the controller uses it: JSON objects in, JSON objects out, our errors. The one seam to Kubernetes.

Called by everything in this folder and by the command line. It must not know what a Distillation is.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
import yaml
from kubernetes import client, config

from stillhouse.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)

Json = dict[str, Any]

FIELD_MANAGER = "stillhouse"
_TIMEOUT_SECONDS = (5.0, 30.0)
# A log may be silent for as long as its container is.
_FOLLOWING_SECONDS = (5.0, None)
_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PAGE = 500
_MERGE_PATCH = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_JSON = "application/json"


@dataclass(frozen=True)
class Kind:
    """A namespaced resource of the API."""

    group_version: str
    """`v1`, or `batch/v1`."""
    plural: str
    name: str
    """`Job`, as manifests and people call it."""

    @property
    def root(self) -> str:
        """Path of the group."""
        return f"/apis/{self.group_version}" if "/" in self.group_version else f"/api/{self.group_version}"


DISTILLATIONS = Kind("stillhouse.dev/v1alpha1", "distillations", "Distillation")
JOBS = Kind("batch/v1", "jobs", "Job")
PODS = Kind("v1", "pods", "Pod")
EVENTS = Kind("v1", "events", "Event")
CONFIG_MAPS = Kind("v1", "configmaps", "ConfigMap")
SECRETS = Kind("v1", "secrets", "Secret")
SERVICES = Kind("v1", "services", "Service")
DEPLOYMENTS = Kind("apps/v1", "deployments", "Deployment")
DISRUPTION_BUDGETS = Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
WORKLOADS = Kind("kueue.x-k8s.io/v1beta1", "workloads", "Workload")


class Conflict(Unavailable):
    """The object changed, or was made, between reading and writing it: look again."""


class KubernetesApi:
    """One cluster, with one identity. Safe to share between threads.

    Every method raises NotFound (no such object or kind), PermissionDenied, Conflict, InvalidArgument (the server
    refuses the object), FailedPrecondition (an admission policy refuses it), ResourceExhausted (a quota, or too many
    calls) or Unavailable.
    """

    def __init__(self, api: client.ApiClient) -> None:
        """See `connect`."""
        self._api = api
        # urllib3 would sleep through Retry-After, a worker with it, and then hide what the server said.
        pools: urllib3.PoolManager = api.rest_client.pool_manager
        pools.connection_pool_kw["retries"] = urllib3.Retry(3, status=0, respect_retry_after_header=False)

    @classmethod
    def connect(cls, *, context: str | None = None) -> KubernetesApi:
        """Inside a pod its service account, unless KUBECONFIG is set; else the kubeconfig's context.

        Raises FailedPrecondition without either, or where the kubeconfig is none.
        """
        named = os.environ.get("KUBECONFIG") or "~/.kube/config"
        try:
            if _may_be_in_a_pod(context):
                with suppress(config.ConfigException):
                    config.load_incluster_config()
                    return cls(client.ApiClient())
            return cls(config.new_client_from_config(named, context))
        except (config.ConfigException, yaml.YAMLError, OSError, TypeError, AttributeError, ValueError) as exc:
            is_other = isinstance(exc, TypeError | AttributeError | ValueError)
            said = "it is no kubeconfig" if is_other else " ".join(str(exc).split()).rstrip(".")
            raise FailedPrecondition(f"no cluster in {named}: {said}; set KUBECONFIG or log in to one") from exc

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object, or None."""
        try:
            return self._call("GET", kind, namespace, name)
        except NotFound:
            return None

    def list(self, kind: Kind, namespace: str, *, labels: str = "") -> list[Json]:
        """All objects that match the selector."""
        found: list[Json] = []
        query = {"limit": str(_PAGE), "labelSelector": labels}
        while True:
            page = self._call("GET", kind, namespace, query=query)
            found += page.get("items", [])
            following = page.get("metadata", {}).get("continue")
            if not following:
                return found
            query["continue"] = following

    def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        """Makes it. Raises Conflict where one of that name is there."""
        return self._call("POST", kind, namespace, body=_typed(kind, body))

    def apply(self, kind: Kind, namespace: str, body: Json, *, manager: str = FIELD_MANAGER) -> Json:
        """Server-side apply: makes it, or changes the fields that `body` names, as `manager`.

        With `metadata.resourceVersion` in it, raises Conflict where the object has another.
        """
        name = body["metadata"]["name"]
        query = {"fieldManager": manager, "force": "true"}
        return self._call("PATCH", kind, namespace, name, body=_typed(kind, body), query=query, content=_APPLY)

    def patch(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        """JSON merge patch. With `metadata.resourceVersion` in it, raises Conflict where the object has another."""
        return self._call("PATCH", kind, namespace, name, body=body, content=_MERGE_PATCH)

    def replace_status(self, kind: Kind, namespace: str, body: Json) -> Json:
        """Writes the status of `body`, whole. Raises Conflict where the object changed since `body` was read."""
        return self._call("PUT", kind, namespace, body["metadata"]["name"], subresource="/status", body=body)

    def delete(self, kind: Kind, namespace: str, name: str, *, foreground: bool = False, uid: str = "") -> None:
        """Deletes it, with what it owns: after it, or before it (`foreground`). None is fine; so is another `uid`."""
        body: Json = {"propagationPolicy": "Foreground" if foreground else "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._call("DELETE", kind, namespace, name, body=body)
        except (NotFound, Conflict):
            return

    def logs(self, namespace: str, pod: str, *, container: str) -> str:
        """What a container has written."""
        query = urlencode({"container": container})
        path = f"{PODS.root}/namespaces/{quote(namespace)}/pods/{quote(pod)}/log?{query}"
        return self._request("GET", path, None, _JSON, f"the log of pod {namespace}/{pod}").decode(errors="replace")

    def follow_log(self, namespace: str, pod: str, *, container: str) -> Iterator[str]:
        """What a container has written and will write, in pieces, until it ends."""
        query = urlencode({"container": container, "follow": "true"})
        path = f"{PODS.root}/namespaces/{quote(namespace)}/pods/{quote(pod)}/log?{query}"
        title = f"the log of pod {namespace}/{pod}"
        response = self._response("GET", path, None, _JSON, title, timeout=_FOLLOWING_SECONDS)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        try:
            for chunk in response.response.stream(None):
                yield decoder.decode(chunk)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise Unavailable(f"{title} broke off: {_first_line(exc)}") from exc
        finally:
            response.response.close()

    def _call(
        self,
        method: str,
        kind: Kind,
        namespace: str,
        name: str = "",
        *,
        subresource: str = "",
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        content: str = _JSON,
    ) -> Json:
        path = f"{kind.root}/namespaces/{quote(namespace)}/{kind.plural}"
        path += f"/{quote(name)}{subresource}" if name else ""
        path += f"?{urlencode({key: value for key, value in query.items() if value})}" if query else ""
        title = f"{kind.name} {namespace}/{name}" if name else f"{kind.plural} in {namespace}"
        data = self._request(method, path, body, content, title)
        try:
            answer: Json = json.loads(data)
        except ValueError as exc:
            raise Unavailable(f"{title}: what answers is no API server: {data[:100].decode(errors='replace')}") from exc
        return answer

    def _request(self, method: str, path: str, body: Json | None, content: str, title: str) -> bytes:
        response = self._response(method, path, body, content, title)
        with _reached():
            data: bytes = response.read()
        return data

    def _response(
        self,
        method: str,
        path: str,
        body: Json | None,
        content: str,
        title: str,
        *,
        timeout: tuple[float, float | None] = _TIMEOUT_SECONDS,
    ) -> Any:
        """The answer, not read yet."""
        headers = {"Content-Type": content, "Accept": "application/json"}
        with _reached():
            prepared = self._api.param_serialize(
                method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = self._api.call_api(*prepared, _request_timeout=timeout)
            if 200 <= response.status < 300:
                return response
            data: bytes = response.read()
        raise _error(response.status, data, title, _retry_after(response.headers))


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as exc:
        raise Unavailable(f"the cluster's API server can't be reached: {_first_line(exc)}; is it running?") from exc


def _may_be_in_a_pod(context: str | None) -> bool:
    """Whoever names a context or a kubeconfig means that one, for kubectl too."""
    return context is None and not os.environ.get("KUBECONFIG")


def default_namespace(*, context: str | None = None) -> str:
    """Of whoever is connected as `KubernetesApi.connect` does: the pod's, the context's, else `default`."""
    if _may_be_in_a_pod(context) and _ACCOUNT_NAMESPACE.is_file():
        return _ACCOUNT_NAMESPACE.read_text(encoding="ascii").strip()
    try:
        contexts, active = config.list_kube_config_contexts()
    except config.ConfigException:
        return "default"
    chosen = next((entry for entry in contexts if entry["name"] == context), active)
    return str(chosen.get("context", {}).get("namespace") or "default")


def _typed(kind: Kind, body: Json) -> Json:
    return {"apiVersion": kind.group_version, "kind": kind.name, **body}


def _error(status: int, data: bytes, title: str, retry_after: float | None) -> StillhouseError:
    try:
        said = str(json.loads(data).get("message", ""))
    except (ValueError, AttributeError):
        said = data[:500].decode(errors="replace")
    message = f"{title}: {said or f'HTTP {status}'}"
    match status:
        case 401 | 403 if "exceeded quota" in said:
            return ResourceExhausted(message)
        case 401 | 403:
            return PermissionDenied(message)
        case 404 | 405:
            return NotFound(message)
        case 409:
            return Conflict(message)
        case 429:
            return ResourceExhausted(message, retry_after_seconds=retry_after)
        case 400 if "denied the request" in said or "admission" in said:
            return FailedPrecondition(message)
        case 400 | 415 | 422:
            return InvalidArgument(message)
        case 500 if "typed patch object" in said:  # what it applies is not what its schema says
            return InvalidArgument(message)
        case _:
            return Unavailable(message, retry_after_seconds=retry_after)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _first_line(exc: BaseException) -> str:
    cause = exc.reason if isinstance(exc, urllib3.exceptions.MaxRetryError) and exc.reason else exc
    return str(cause).strip().partition("\n")[0] or type(cause).__name__
