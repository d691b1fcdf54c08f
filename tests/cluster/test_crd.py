"""The Kubernetes resource on a real API server: what it accepts, refuses, keeps and shows."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Protocol

import pytest

from distillation_cases import IMPORTED, RULES, TAUGHT, case_names, changed
from distillation_shapes import FRACTIONS, SCALARS, STRUCTURE, UNSET, with_line
from optimization_cases import OPTIMIZATION, UNSET_OPTIMIZATION
from stillhouse.spec.status import Artifacts, Condition, DistillationStatus, Progress, StepStatus

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
PAIRS = [*RULES, *OPTIMIZATION, *STRUCTURE]
WITH_NULLS = [*UNSET, UNSET_OPTIMIZATION]
SAMPLES = sorted((Path(__file__).parents[2] / "k8s" / "samples").glob("*.yaml"))
NOW = "2030-01-31T12:00:00Z"


class Distillations(Protocol):
    def create(self, document: Json) -> Json: ...
    def problems(self, document: Json) -> str: ...
    def problems_of_patch(self, name: str, patch: Json) -> str: ...
    def put_status(self, name: str, status: Json) -> str: ...
    def get(self, name: str) -> Json: ...


def condition(kind: str, status: str = "True") -> Condition:
    return Condition(
        type=kind, status=status, observed_generation=1, last_transition_time=NOW, reason="Done", message="made"
    )


STATUS = DistillationStatus(
    observed_generation=1,
    stage="train",
    message="epoch 2 of 3",
    records=412,
    score="0.931",
    gap="-0.013",
    serving="demo (this)",
    cost_usd="1.25",
    steps=[
        StepStatus(name="dataset", stage="dataset", key="ab" * 32, state="done", job="dataset-abab", finish_time=NOW),
        StepStatus(
            name="train",
            stage="train",
            state="running",
            start_time=NOW,
            progress=Progress(done=5, total=10, unit="steps", eta_seconds=60, figures={"loss": "1.25"}),
        ),
    ],
    artifacts=Artifacts(dataset="s3://stillhouse/blobs/sha256/" + "ab" * 32),
    model_sha256="cd" * 32,
    validation_sha256="ef" * 32,
    conditions=[condition("DatasetReady"), condition("Trained", "Unknown")],
)


def as_json(status: DistillationStatus) -> Json:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_every_near_miss_is_refused_and_its_neighbour_accepted(distillations: Distillations) -> None:
    wrong = []
    for name, pair in zip(case_names(PAIRS), PAIRS, strict=True):
        accepted, refused = pair.documents()
        if problems := distillations.problems(accepted):
            wrong.append(f"{name}: refused although right: {problems}")
        if pair.refused_with not in (problems := distillations.problems(refused)):
            wrong.append(f"{name}: {problems or 'accepted although wrong'}")
    assert wrong == []


def test_a_fraction_is_a_decimal_within_0_and_1(distillations: Distillations) -> None:
    found = {text: not distillations.problems(changed(IMPORTED, {"dataset.minScore": text})) for text in FRACTIONS}
    assert found == FRACTIONS


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_samples_are_accepted(crd: None, kubectl: Any, namespace: str, sample: Path) -> None:
    for how in (["create"], ["apply", "--server-side"]):
        done = kubectl("-n", namespace, *how, "--dry-run=server", "--validate=strict", "-f", str(sample))
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr


@pytest.mark.parametrize(("line", "fine"), SCALARS.items())
def test_a_file_is_read_as_stillhouse_reads_it(crd: None, kubectl: Any, namespace: str, line: str, fine: bool) -> None:
    done = kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", stdin=with_line(line))
    assert (done.returncode == 0) == fine, done.stderr


def test_a_role_can_not_change(distillations: Distillations) -> None:
    distillations.create(IMPORTED)
    assert "a role can't change" in distillations.problems_of_patch("case", {"spec": {"role": "other"}})
    assert distillations.problems_of_patch("case", {"spec": {"role": "product_owner", "suspend": True}}) == ""


def test_nothing_is_added_to_what_was_written(distillations: Distillations) -> None:
    written = changed(TAUGHT, {"evaluation.gates": {"maxGap": "None"}, "resources.train.limits": {"cpu": 2}})
    spec = distillations.create(written)["spec"]
    assert spec == written["spec"]


@pytest.mark.parametrize("document", WITH_NULLS, ids=range(len(WITH_NULLS)))
def test_null_is_as_if_the_field_was_not_there(distillations: Distillations, document: Json) -> None:
    assert distillations.problems(document) == ""


def test_null_is_as_if_the_field_was_not_there_for_server_side_apply(crd: None, kubectl: Any, namespace: str) -> None:
    line = "serve: {pin: null}"
    done = kubectl("-n", namespace, "apply", "--server-side", "--validate=strict", "-f", "-", stdin=with_line(line))
    assert done.returncode == 0, done.stderr


def test_status_is_kept_apart_from_the_spec(distillations: Distillations) -> None:
    created = distillations.create(IMPORTED | {"status": as_json(STATUS)})
    assert "status" not in created
    assert distillations.put_status("case", as_json(STATUS)) == ""
    kept = distillations.get("case")
    assert DistillationStatus.model_validate(kept["status"]) == STATUS
    assert kept["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"conditions": [as_json(STATUS)["conditions"][0]] * 2}, "Duplicate value"),
        ({"steps": [as_json(STATUS)["steps"][0]] * 2}, "Duplicate value"),
        ({"conditions": [as_json(STATUS)["conditions"][0] | {"type": "Bottled"}]}, "Unsupported value"),
        ({"score": 0.9}, "must be of type string"),
        ({"message": "x" * 4097}, "may not be more than 4096"),
        ({"novelty": 1}, "unknown field"),
    ],
)
def test_a_status_that_says_something_else_is_refused(distillations: Distillations, change: Json, problem: str) -> None:
    distillations.create(IMPORTED)
    assert problem in distillations.put_status("case", as_json(STATUS) | change)


def test_a_controller_s_patch_leaves_other_conditions_alone(
    distillations: Distillations, kubectl: Any, namespace: str
) -> None:
    distillations.create(IMPORTED)
    distillations.put_status("case", as_json(STATUS))
    applied = copy.deepcopy(IMPORTED)
    del applied["spec"]
    applied["status"] = {"conditions": [condition("Serving").model_dump(mode="json", by_alias=True)]}
    done = kubectl(
        "-n", namespace, "apply", "--server-side", "--subresource=status", "-f", "-", stdin=json.dumps(applied)
    )
    assert done.returncode == 0, done.stderr
    types = [entry["type"] for entry in distillations.get("case")["status"]["conditions"]]
    assert types == ["DatasetReady", "Trained", "Serving"]


def test_a_list_tells_the_story(distillations: Distillations, kubectl: Any, namespace: str) -> None:
    distillations.create(IMPORTED)
    distillations.put_status("case", as_json(STATUS))
    for name in ("distillations", "dist", "stillhouse"):
        head, row = kubectl("-n", namespace, "get", name).stdout.splitlines()
        assert head.split() == ["NAME", "STAGE", "RECORDS", "SCORE", "GAP", "SERVING", "AGE"]
        assert " ".join(row.split()[:-1]).endswith("case train 412 0.931 -0.013 demo (this)")


def test_a_condition_can_be_waited_for(distillations: Distillations, kubectl: Any, namespace: str) -> None:
    distillations.create(IMPORTED)
    distillations.put_status("case", as_json(STATUS))
    done = kubectl("-n", namespace, "wait", "--for=condition=DatasetReady", "dist/case", "--timeout=5s")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("distillation", "One file, two places"),
        ("dist.spec.serve.policy", "IfBetter takes the place"),
        ("dist.spec.dataset.minScore", "Default: 0.80."),
        ("dist.spec.resources.train.podPatch", "merged into the pod's spec"),
        ("dist.status.conditions.reason", "Why, in one word"),
    ],
)
def test_fields_are_explained(crd: None, kubectl: Any, path: str, text: str) -> None:
    done = kubectl("explain", path)
    assert text in " ".join(done.stdout.split()), done.stdout + done.stderr
