"""What `helm test` runs in the cluster: the resource is known, the scorer serves, the store takes what a run writes."""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stillhouse.artifacts.store import Store

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "stillhouse.dev/v1alpha1"
PATIENCE_SECONDS = 60.0


def resource_is_known() -> str:
    """Discovery is open to everyone who has logged in: no role is needed for it."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = urllib.request.Request(
        f"https://{address}/apis/{GROUP}", headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}
    )
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:  # noqa: S310 - it is https
        names = [resource["name"] for resource in json.load(answer)["resources"]]
    if "distillations" not in names:
        raise RuntimeError(f"{GROUP} has {names}, no distillations: install the CRD (crd.install=true)")
    return f"{GROUP} serves distillations"


def scorer_serves() -> str:
    """Its health service says SERVING. Health needs no token."""
    address = os.environ["SCORER_ADDRESS"]
    root = os.environ.get("SCORER_CA")
    if root:
        if os.environ.get("SCORER_CLIENT_CERTIFICATES"):
            return "the scorer wants a client certificate: not asked"
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(root).read_bytes()))
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="stillhouse.v1.ScorerService"), timeout=10, wait_for_ready=True
        )
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise RuntimeError(f"the scorer at {address} does not serve: {answer}")
    return f"the scorer at {address} serves"


def store_keeps() -> str:
    """Written, found taken, read, deleted: what commits of manifests rest on."""
    store = Store.open(os.environ["STORE_URI"])
    path, data = f"install-tests/{uuid.uuid4()}", b"written by helm test"
    if not store.put_object_if_absent(path, data):
        raise RuntimeError(f"{store.uri}/{path} is said to be there already")
    try:
        if store.put_object_if_absent(path, b"another"):
            raise RuntimeError(f"{store.uri} wrote over an object that was there: it lacks conditional writes")
        if store.read_object(path) != data:
            raise RuntimeError(f"{store.uri}/{path} is not what was written")
    finally:
        store.delete_object(path)
    return f"{store.uri} keeps what is written, once"


def passes(check: Callable[[], str]) -> bool:
    """Tries for a minute: a fresh installation may still be starting."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            print(f"ok      {check()}", flush=True)  # noqa: T201
        except Exception as exc:
            if time.monotonic() > end:
                print(f"FAILED  {check.__name__}: {exc}", flush=True)  # noqa: T201
                return False
            time.sleep(2)
        else:
            return True


def main() -> int:
    """0 if every check passes, else 1."""
    checks = [resource_is_known, store_keeps, *([scorer_serves] if os.environ.get("SCORER_ADDRESS") else [])]
    results = [passes(check) for check in checks]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
