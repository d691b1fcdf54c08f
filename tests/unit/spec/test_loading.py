"""Reading a Distillation: defaults, unknown keys, decimals, overrides."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import stillhouse.cli
from stillhouse.controller.requests import check
from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.spec.loading import load_distillation
from stillhouse.spec.models import Distillation
from stillhouse.spec.schema import json_schema

MINIMAL: dict[str, Any] = {
    "apiVersion": "stillhouse.dev/v1alpha1",
    "kind": "Distillation",
    "metadata": {"name": "first"},
    "spec": {"role": "product_owner", "dataset": {"imports": [{"uri": "rows.jsonl"}]}},
}


def written(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "distillation.yaml"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def with_value(path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(MINIMAL)
    node = document
    *parents, last = path.split(".")
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return document


def test_a_minimal_file_gets_the_defaults(tmp_path: Path) -> None:
    spec = load_distillation(written(tmp_path, MINIMAL)).spec
    assert spec.student.base == "builtin:smollm2-135m-instruct"
    assert spec.dataset.min_score == "0.80"
    assert spec.evaluation.gates.max_gap == "0.10"
    assert spec.suspend is False


def test_a_file_written_with_all_defaults_reads_back_equal(tmp_path: Path) -> None:
    first = load_distillation(written(tmp_path, MINIMAL))
    again = load_distillation(written(tmp_path, json.dumps(first.model_dump(mode="json", by_alias=True))))
    assert again == first


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (with_value("spec.studnet", {}), "spec.studnet is unknown; did you mean student?"),
        (with_value("spec.dataset.minScores", "0.8"), "spec.dataset.minScores is unknown; did you mean minScore?"),
        (with_value("spec.student.lora", {"zzz": 1}), "spec.student.lora.zzz is unknown; known here: rank, alpha"),
        (
            with_value("spec.dataset.imports", [{"url": "x"}]),
            "spec.dataset.imports[0].url is unknown; did you mean uri?",
        ),
        (with_value("spec.dataset.minScore", 0.8), 'write "0.8"'),
        (with_value("spec.dataset.minScore", "1.2"), "1.2 is not within 0 and 1"),
        (with_value("spec.dataset.minScore", "high"), "'high' is no decimal"),
        (with_value("spec.dataset.minScore", "nan"), "'nan' is no decimal"),
        (with_value("spec.dataset.imports", []), "spec.dataset: a data set has a teacher, imports or both"),
        (with_value("spec.dataset.imports", [{}]), "an import has either uri or synthesized"),
        (with_value("spec.budget", {"maxCostUsd": "-1"}), "'-1' is no decimal"),
        (with_value("spec.budget", {"maxCostUsd": "1e9"}), "1e9 is not within 0 and 1000000"),
        (with_value("spec.budget", {"maxCost": "1"}), "spec.budget.maxCost is unknown; did you mean maxCostUsd?"),
        (with_value("spec.evaluation", {"temperature": "2.1"}), "2.1 is not within 0 and 2"),
        (with_value("spec.student.training", {"epochs": "3"}), "spec.student.training.epochs"),
        (with_value("spec.suspend", "yes"), "spec.suspend"),
        (with_value("spec.resources", {"trian": {}}), "spec.resources.trian: input should be 'generate', 'dataset'"),
        (with_value("spec.resources.train", {"limit": {}}), "spec.resources.train.limit is unknown; did you mean"),
        (with_value("spec.resources.train.limits", {"a b": 1}), "spec.resources.train.limits.a b: string should match"),
        (with_value("spec.resources.train", {"podPatch": "- a"}), "podPatch: it is no mapping of a pod's fields"),
        (with_value("spec.role", None), "spec.role"),
        (with_value("metadata.name", "No_Name"), "metadata.name"),
        (with_value("kind", "Distilation"), "kind"),
        (with_value("spec.evaluation", {"constraints": ["Grammar"]}), "spec.evaluation.constraints[0]"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_distillation(written(tmp_path, document))
    assert message in caught.value.message


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    document = with_value("spec.dataset.minScore", "2")
    document["spec"]["studnet"] = {}
    with pytest.raises(InvalidArgument, match=r"minScore.*studnet"):
        load_distillation(written(tmp_path, document))


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="stillhouse init"):
        load_distillation(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "x: 2020-99-99", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument):
        load_distillation(written(tmp_path, text))


def test_an_override_replaces_a_value_below_spec(tmp_path: Path) -> None:
    overrides = [
        "dataset.imports[0].uri=other.jsonl",
        "dataset.validation.uri=v.jsonl",
        "student.training.maxSteps=5",
        "dataset.minScore=0.5",
        "evaluation.gates.maxGap=None",
        "suspend=true",
        "spec.student.lora.targetModules=[q_proj]",
        "dataset.imports[1].synthesized.count=3",
        "resources.train.limits.cpu=2",
        "resources.train.deadlineSeconds=60",
    ]
    spec = load_distillation(written(tmp_path, MINIMAL), overrides).spec
    assert spec.dataset.imports[0].uri == "other.jsonl"
    assert spec.dataset.imports[1].synthesized is not None
    assert spec.dataset.validation is not None
    assert spec.student.training.max_steps == 5
    assert spec.dataset.min_score == "0.5"
    assert spec.evaluation.gates.max_gap == "None"
    assert spec.suspend
    assert spec.student.lora.target_modules == ["q_proj"]
    assert spec.resources["train"].limits == {"cpu": "2"}
    assert spec.resources["train"].deadline_seconds == 60


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.import[0].uri=x", "did you mean imports?"),
        ("dataset.imports[4].uri=x", "no entry before [4]"),
        ("suspend", "write PATH=VALUE"),
        ("a..b=1", "is no key"),
        ("student.training.epochs=many", "spec.student.training.epochs"),
        ("student.training.epochs=[", "is not YAML"),
        ("role.name=x", "name is unknown"),
        ("resources.trian.limits.cpu=2", "trian is unknown; did you mean train?"),
        ("resources.train.limit.cpu=2", "limit is unknown; did you mean limits?"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_distillation(written(tmp_path, MINIMAL), [override])
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("spec", "override"),
    [
        ("text", "dataset.minScore=0.5"),
        ({"dataset": "text"}, "dataset.split.seed=1"),
        ({"dataset": [1]}, "dataset.split.seed=1"),
        ({"dataset": {"imports": {"uri": "x"}}}, "dataset.imports[0].uri=y"),
        ({"dataset": {"imports": "text"}}, "dataset.imports[0].uri=y"),
    ],
)
def test_an_override_below_a_value_of_another_kind_is_refused(tmp_path: Path, spec: object, override: str) -> None:
    with pytest.raises(InvalidArgument, match="--set dataset"):
        load_distillation(written(tmp_path, {**MINIMAL, "spec": spec}), [override])


def test_overrides_can_fill_an_empty_spec(tmp_path: Path) -> None:
    path = written(tmp_path, {**MINIMAL, "spec": None})
    assert load_distillation(path, ["role=product_owner", "dataset.imports[0].uri=x"]).spec.role == "product_owner"


def test_the_schema_bounds_every_string_and_list() -> None:
    def unbounded(schema: Any, path: str) -> list[str]:
        if isinstance(schema, list):
            return [name for index, item in enumerate(schema) for name in unbounded(item, f"{path}[{index}]")]
        if not isinstance(schema, dict):
            return []
        missing = []
        if schema.get("type") == "array" and "maxItems" not in schema:
            missing.append(path)
        bounds = {"maxLength", "pattern", "enum", "const"}
        if schema.get("type") == "string" and not bounds & schema.keys():
            missing.append(path)
        return missing + [name for key, value in schema.items() for name in unbounded(value, f"{path}.{key}")]

    assert [p for p in unbounded(json_schema(), "") if "labels" not in p and "annotations" not in p] == []


def test_samples_are_valid() -> None:
    samples = sorted((Path(__file__).parents[3] / "k8s" / "samples").glob("*.yaml"))
    assert {sample.stem for sample in samples} >= {"quickstart", "imported", "vertex", "ollama", "hybrid", "optimized"}
    for sample in samples:
        distillation = load_distillation(sample)
        assert isinstance(distillation, Distillation)
        check(distillation.spec)


def test_the_file_that_init_writes_is_valid() -> None:
    template = Path(stillhouse.cli.__file__).with_name("distillation.template.yaml")
    check(load_distillation(template).spec)


def test_a_null_gate_is_refused_because_a_cluster_would_not_hear_of_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match='write "None" to switch a gate off'):
        load_distillation(written(tmp_path, MINIMAL), ["evaluation.gates.maxGap=null"])
