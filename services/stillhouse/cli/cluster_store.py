"""The store of a cluster's Distillations, as a command on this machine reaches it.

An installation for trying things out has an S3 server inside the cluster: kubectl makes the way there, and its keys
come from the chart's secret, for the one command. Any other store is reached as the environment says.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stillhouse.cli.cluster import Cluster
from stillhouse.cli.cluster_forward import forwarded
from stillhouse.errors import InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.cluster.api import Kind

Json = dict[str, Any]

_ENDPOINT = "AWS_ENDPOINT_URL"
_CHART = "app.kubernetes.io/name=stillhouse,app.kubernetes.io/component="
_SERVICE_HOST = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?")
_S3_PORT = 7070


@dataclass(frozen=True)
class Installation:
    """What the chart's settings say in a namespace; empty where they are not there, or may not be read."""

    store: str = ""
    secrets: tuple[str, ...] = ()
    """With the store's credentials."""


@dataclass(frozen=True)
class Door:
    """An S3 server inside the cluster, and its keys."""

    namespace: str
    service: str
    port: int
    environment: Mapping[str, str]


def installation(cluster: Cluster) -> Installation:
    """Of the namespace."""
    import yaml

    from stillhouse.controller.cluster.api import CONFIG_MAPS

    for found in _readable(cluster, CONFIG_MAPS, f"{_CHART}controller"):
        settings = yaml.safe_load(found.get("data", {}).get("settings.yaml", "")) or {}
        secrets = (entry.get("secretRef", {}).get("name") for entry in settings.get("envFrom") or [])
        return Installation(settings.get("store") or "", tuple(name for name in secrets if name))
    return Installation()


def store_uri(cluster: Cluster, *, flag: str | None, spec: str | None) -> str:
    """The flag's, else the file's, else the installation's. Raises InvalidArgument where none is for a cluster."""
    from stillhouse.artifacts.backend import REMOTE_SCHEMES, normalise_uri

    named = flag or spec or installation(cluster).store
    if not named:
        raise InvalidArgument(
            f"no store is named, and namespace {cluster.namespace} has no settings of Stillhouse that say one and may "
            "be read: say --store, or spec.store",
            field="spec.store",
        )
    uri = normalise_uri(named)
    if uri.partition("://")[0] not in REMOTE_SCHEMES:
        raise InvalidArgument(f"the store {named} is on this machine: a cluster needs s3://, gs:// or az://")
    return uri


@contextmanager
def opened_store(cluster: Cluster, uri: str) -> Iterator[Store]:
    """That store, while the block lasts. Raises what `Store` and `forwarded` raise."""
    from stillhouse.artifacts.store import Store

    door = _door(cluster, uri)
    if door is None:
        yield Store.open(uri)
        return
    with forwarded(door.service, door.port, namespace=door.namespace, context=cluster.context) as port:
        local = {_ENDPOINT: f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
        with _environment({**door.environment, **local}):
            yield Store.open(uri)


def _door(cluster: Cluster, uri: str) -> Door | None:
    """The chart's development store, where that is what the uri means and the user says nothing else."""
    if not uri.startswith("s3://") or os.environ.get(_ENDPOINT):
        return None
    from stillhouse.controller.cluster.api import SERVICES

    installed = installation(cluster)
    if installed.store:
        if urlsplit(uri).netloc != urlsplit(installed.store).netloc:
            return None
    elif os.environ.get("AWS_ACCESS_KEY_ID"):
        return None  # keys of the user's own are for a store of their own
    services = _readable(cluster, SERVICES, f"{_CHART}object-store")
    if services:
        environment = _credentials(cluster, installed.secrets)
        ports = services[0]["spec"]["ports"]
        return Door(cluster.namespace, services[0]["metadata"]["name"], int(ports[0]["port"]), environment)
    # The namespace of another installation, which left a copy of its secret here.
    if installed.store or not (environment := _credentials(cluster, (), optional=True)):
        return None
    endpoint = urlsplit(environment.get(_ENDPOINT, ""))
    host = _SERVICE_HOST.fullmatch(endpoint.hostname or "")
    return None if host is None else Door(host["namespace"], host["name"], endpoint.port or _S3_PORT, environment)


def _credentials(cluster: Cluster, names: tuple[str, ...], *, optional: bool = False) -> dict[str, str]:
    """AWS_* of the chart's secrets. Raises PermissionDenied or NotFound unless they are optional."""
    from stillhouse.controller.cluster.api import SECRETS

    try:
        found = [cluster.api.get(SECRETS, cluster.namespace, name) for name in names]
        found = found or list(cluster.api.list(SECRETS, cluster.namespace, labels=f"{_CHART}object-store"))
    except PermissionDenied as exc:
        if optional:
            return {}
        raise PermissionDenied(
            f"{exc.message}; the keys of the cluster's development store are there: ask for the right to read it, or "
            f"set {_ENDPOINT}, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from exc
    values = {
        name: base64.b64decode(value).decode()
        for secret in found
        for name, value in ((secret or {}).get("data") or {}).items()
        if name.startswith("AWS_")
    }
    if "AWS_ACCESS_KEY_ID" not in values and not optional:
        raise NotFound(
            f"no secret in namespace {cluster.namespace} holds the keys of its object store; set {_ENDPOINT}, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return values


def _readable(cluster: Cluster, kind: Kind, labels: str) -> list[Json]:
    try:
        return cluster.api.list(kind, cluster.namespace, labels=labels)
    except PermissionDenied:
        return []


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables, and no session of the user's, while the block lasts: the library reads them there alone."""
    changed = {**values, "AWS_SESSION_TOKEN": None}
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
