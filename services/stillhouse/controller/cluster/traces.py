"""The span of a whole Distillation, below which those of its stages lie. Called by the reconciler."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stillhouse.rpc.tracing import record

Json = dict[str, Any]


def record_outcome(body: Json, status: Json, own: str, *, end_seconds: float) -> None:
    """Sends it, under its traceparent `own`, where `status` is the first that tells of an outcome."""
    if _outcome(status) in ("", "Running", _outcome(body.get("status", {}))):
        return
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    starts = [step["startTime"] for step in status.get("steps", []) if "startTime" in step]
    record(
        f"distillation {name}",
        own,
        start_seconds=min((datetime.fromisoformat(start).timestamp() for start in starts), default=end_seconds),
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
