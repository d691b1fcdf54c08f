"""The chart, rendered by helm, and what its NetworkPolicies let through: their selectors, evaluated here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "stillhouse"
VALUES_FILES = sorted((CHART / "ci").glob("*.yaml"))
RELEASE, NAMESPACE = "stillhouse", "stillhouse"

needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not in PATH")


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `helm` says; it may fail."""
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=120)


@cache
def rendered(values: Path, *settings: str) -> tuple[Json, ...]:
    """Every object of the chart with those values, and settings `a.b=c` over them. Fails where helm does."""
    over = [part for setting in settings for part in ("--set", setting)]
    done = run_helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", str(values), *over)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def of_kind(objects: Sequence[Json], kind: str, name: str | None = None) -> list[Json]:
    """Those of that kind, and of that name where one is given."""
    return [entry for entry in objects if entry["kind"] == kind and (name is None or entry["metadata"]["name"] == name)]


def pod_specs(objects: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Each pod's title and spec: of pods, Deployments and Jobs."""
    for entry in objects:
        title = f"{entry['kind']}/{entry['metadata']['name']}"
        if entry["kind"] == "Pod":
            yield title, entry["spec"]
        elif "template" in entry.get("spec", {}):
            yield title, entry["spec"]["template"]["spec"]


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod, or an address outside the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def pod(namespace: str, namespace_labels: Mapping[str, str] | None = None, **labels: str) -> Peer:
    """A pod; a label without a slash in its name is one of app.kubernetes.io."""
    full = {(f"app.kubernetes.io/{key}" if "/" not in key else key): value for key, value in labels.items()}
    return Peer(namespace, full, {"kubernetes.io/metadata.name": namespace, **(namespace_labels or {})})


def outside(address: str) -> Peer:
    """A server that is no pod."""
    return Peer(address=address)


def may_connect(policies: Sequence[Json], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """True if a cluster that enforces `policies` lets `source` open a connection to that port of `target`."""
    return _allows(policies, "Egress", source, target, port, protocol) and _allows(
        policies, "Ingress", target, source, port, protocol
    )


def _allows(policies: Sequence[Json], direction: str, own: Peer, other: Peer, port: int, protocol: str) -> bool:
    """A pod that no policy of that direction selects is open; else one rule of one policy must match."""
    if own.address:
        return True
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == own.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], own.labels)
    ]
    rules = [rule for spec in selecting for rule in spec.get(direction.lower(), [])]
    peers = "to" if direction == "Egress" else "from"
    return not selecting or any(
        _port_matches(rule.get("ports"), port, protocol) and _any_peer(rule.get(peers), other, own.namespace)
        for rule in rules
    )


def _port_matches(ports: Sequence[Json] | None, port: int, protocol: str) -> bool:
    return not ports or any(
        entry.get("protocol", "TCP") == protocol and entry.get("port", port) == port for entry in ports
    )


def _any_peer(peers: Sequence[Json] | None, other: Peer, own_namespace: str) -> bool:
    return not peers or any(_peer_matches(peer, other, own_namespace) for peer in peers)


def _peer_matches(peer: Json, other: Peer, own_namespace: str) -> bool:
    if "ipBlock" in peer:
        if not other.address:
            return False
        address, block = ip_address(other.address), peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(spared) for spared in block.get("except", [])
        )
    if other.address:
        return False
    if "namespaceSelector" in peer:
        near = selects(peer["namespaceSelector"], other.namespace_labels)
    else:
        near = other.namespace == own_namespace
    return near and selects(peer.get("podSelector", {}), other.labels)


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """A LabelSelector, as the API server evaluates it. Raises KeyError for an unknown operator."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    decide = {
        "In": lambda entry: labels.get(entry["key"]) in entry["values"],
        "NotIn": lambda entry: labels.get(entry["key"]) not in entry["values"],
        "Exists": lambda entry: entry["key"] in labels,
        "DoesNotExist": lambda entry: entry["key"] not in labels,
    }
    return all(decide[entry["operator"]](entry) for entry in selector.get("matchExpressions", []))
