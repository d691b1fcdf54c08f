"""The span of a whole Distillation, below which those of its stages lie. Called by the reconciler."""

from __future__ import annotations

from typing import Any

from stillhouse.controller.cluster.timestamps import seconds_of
from stillhouse.rpc.tracing import record

Json = dict[str, Any]


def trace_parent(body: Json) -> str:
    """The W3C trace context of all that is done for this generation of the object."""
    uid = body["metadata"]["uid"].replace("-", "")
    return f"00-{uid:0>32}-{body['metadata']['generation']:016x}-01"


def record_outcome(body: Json, status: Json, *, end_seconds: float) -> None:
    """Sends it where `status` is the first that tells of an outcome."""
    if _outcome(status) in ("", "Running", _outcome(body.get("status", {}))):
        return
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    starts = [step["startTime"] for step in status.get("steps", []) if "startTime" in step]
    record(
        f"distillation {name}",
        trace_parent(body),
        start_seconds=min((seconds_of(start) for start in starts), default=end_seconds),
        end_seconds=end_seconds,
        attributes={
            "stillhouse.distillation": f"{namespace}/{name}",
            "stillhouse.generation": metadata["generation"],
            "stillhouse.outcome": _outcome(status),
        },
    )


def _outcome(status: Json) -> str:
    """The reason of the condition Succeeded: Succeeded, GatesFailed, Failed, ..., or Running."""
    found = [entry["reason"] for entry in status.get("conditions", []) if entry["type"] == "Succeeded"]
    return str(found[0]) if found else ""
