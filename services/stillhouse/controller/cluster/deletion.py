"""What happens to the artifacts of a Distillation that is deleted: nothing, or they go along. Called by the reconciler.

Only `spec.deletionPolicy: Delete` needs a finalizer, so that an object whose controller is gone can always be deleted.
"""

from __future__ import annotations

from typing import Any

import structlog

from stillhouse.artifacts.discard import discard
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.api import DISTILLATIONS, JOBS, KubernetesApi
from stillhouse.controller.cluster.jobs import SELECTOR
from stillhouse.controller.runs import find_run, list_runs, run_folder, run_name
from stillhouse.errors import FailedPrecondition, PermanentError
from stillhouse.spec.models import DistillationSpec

Json = dict[str, Any]

FINALIZER = "stillhouse.dev/artifacts"
_LOOK_AGAIN_SECONDS = 2.0
_log = structlog.get_logger("stillhouse.controller")


def hold(api: KubernetesApi, body: Json, spec: DistillationSpec) -> None:
    """Puts the finalizer on an object that takes its artifacts along, and takes it from one that does not."""
    finalizers = body["metadata"].get("finalizers", [])
    if (spec.deletion_policy == "Delete") == (FINALIZER in finalizers):
        return
    if spec.deletion_policy == "Delete":
        _set_finalizers(api, body, [*finalizers, FINALIZER])
    else:
        _release(api, body)


def carry_out(api: KubernetesApi, body: Json, store: Store) -> float | None:
    """Deletes the artifacts and lets the object go; seconds until the next look while its Jobs still run.

    What another Distillation or run has made or uses too is spared.
    """
    if FINALIZER not in body["metadata"].get("finalizers", []):
        return None
    metadata = body["metadata"]
    if _stop_jobs(api, metadata["namespace"], metadata["uid"]):
        return _LOOK_AGAIN_SECONDS
    try:
        _discard(body, store)
    except PermanentError as exc:
        raise FailedPrecondition(
            f"its artifacts can't be deleted: {exc.message}; to let it go without that: "
            f"kubectl -n {metadata['namespace']} patch distillation {metadata['name']} --type merge "
            """-p '{"metadata":{"finalizers":null}}'"""
        ) from exc
    _release(api, body)
    return None


def _discard(body: Json, store: Store) -> None:
    metadata = body["metadata"]
    run = run_name(metadata["namespace"], metadata["name"])
    own = {(step["stage"], step["key"]) for step in body.get("status", {}).get("steps", []) if step.get("key")}
    others = {key for other in list_runs(store) if other != run for key in _keys(store, other)}
    gone = discard(store, {stage for stage in own if stage[1] not in others}, [run_folder(run)])
    _log.info("artifacts deleted", distillation=run, blobs=gone.blobs, bytes=gone.bytes)


def _stop_jobs(api: KubernetesApi, namespace: str, uid: str) -> bool:
    """Whether Jobs that only this Distillation owns are still there; they are asked to go."""
    running = False
    for job in api.list(JOBS, namespace, labels=SELECTOR):
        owners = [reference["uid"] for reference in job["metadata"].get("ownerReferences", [])]
        if owners == [uid]:
            running = True
            if not job["metadata"].get("deletionTimestamp"):
                api.delete(JOBS, namespace, job["metadata"]["name"], foreground=True, uid=job["metadata"]["uid"])
    return running


def _keys(store: Store, run: str) -> list[str]:
    return [step["key"] for step in find_run(store, run).steps if step["key"]]


def _release(api: KubernetesApi, body: Json) -> None:
    _set_finalizers(api, body, [name for name in body["metadata"].get("finalizers", []) if name != FINALIZER])


def _set_finalizers(api: KubernetesApi, body: Json, finalizers: list[str]) -> None:
    metadata = body["metadata"]
    changed = api.patch(
        DISTILLATIONS,
        metadata["namespace"],
        metadata["name"],
        {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}},
    )
    # The status that is written later must be that of the object as it is now.
    metadata["resourceVersion"] = changed["metadata"]["resourceVersion"]
    metadata["finalizers"] = finalizers
