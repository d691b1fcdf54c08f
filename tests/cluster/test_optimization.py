"""A student's prompt is optimised on the real cluster, beside the student, and the gates are held to its program."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_distillations import condition_of, rows, step_of, tiny
from cluster_installation import Installation

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

OPTIMIZATION: Json = {
    "numCandidates": 3,
    "numTrials": 2,
    "maxBootstrappedDemos": 1,
    "maxLabeledDemos": 1,
    "minBaselineValid": "0",  # random weights
}


def names(installation: Installation, name: str) -> list[str]:
    return [step["name"] for step in installation.status(name)["steps"]]


def test_a_program_is_found_beside_its_student_and_used_by_the_gates(installation: Installation) -> None:
    spec = tiny(dataset=rows(seed=41), optimization=OPTIMIZATION)
    with installation.distilling("optimized", spec) as name:
        installation.wait_for_step(name, "optimize", "running", seconds=600)
        job = installation.job(name, "optimize")
        pod = job["spec"]["template"]["spec"]
        assert [container["name"] for container in pod["initContainers"]] == ["student"]
        assert pod["serviceAccountName"].endswith("-stage")
        status = installation.wait_for_end(name)
        assert status["stage"] == "Succeeded", status["message"]
        assert names(installation, name)[-3:] == ["optimize", "evaluate", "evaluate-unoptimized"]
        assert condition_of(status, "Optimized") == ("True", "Done")
        digest = status["artifacts"]["program"].rpartition("/")[2]
        key = step_of(status, "evaluate")["key"]
        asked = installation.in_store(
            "from stillhouse.v1.evaluator_pb2 import EvaluateRequest; request = EvaluateRequest(); "
            f"store.read_manifest('evaluate', '{key}').request.Unpack(request); print(request.program.sha256)"
        )
        assert asked.strip() == digest


def test_a_baseline_that_can_not_be_read_ends_it_with_the_reason(installation: Installation) -> None:
    spec = tiny(dataset=rows(seed=41), optimization={**OPTIMIZATION, "minBaselineValid": "1"})
    with installation.distilling("unreadable", spec) as name:
        status = installation.wait_for_end(name)
        assert status["stage"] == "Failed"
        assert condition_of(status, "Optimized") == ("False", "Failed")
        assert "can be read" in step_of(status, "optimize")["message"]
        assert condition_of(status, "Exported") == ("True", "Done")
