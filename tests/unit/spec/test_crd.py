"""The Kubernetes resource: structural, bounded, explained; what it refuses, `stillhouse validate` refuses too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillation_cases import IMPORTED, RULES, Pair, case_names, changed
from distillation_shapes import FRACTIONS, SCALARS, STRUCTURE, UNSET, with_line
from optimization_cases import OPTIMIZATION, UNSET_OPTIMIZATION
from stillhouse.controller.requests import check
from stillhouse.errors import InvalidArgument
from stillhouse.spec.cel import RULES_KEY
from stillhouse.spec.crd import as_chart_template, custom_resource_definition
from stillhouse.spec.loading import load_distillation, parse_distillation
from stillhouse.spec.scalars import dump_yaml, load_yaml
from stillhouse.spec.status import MESSAGE_LENGTH, Condition, DistillationStatus

Json = dict[str, Any]
OF_RULES = [*RULES, *OPTIMIZATION]
PAIRS = [*OF_RULES, *STRUCTURE]
WITH_NULLS = [*UNSET, UNSET_OPTIMIZATION]
CLIENT_SIDE_APPLY_BYTES = 262_144
"""What `kubectl apply` can remember of an object in its annotation."""


def validate(document: Json) -> None:
    check(parse_distillation(document, source="file").spec)


def whole_schema() -> Json:
    schema: Json = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    yield path, schema
    for name, value in schema.get("properties", {}).items():
        yield from nodes(value, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(schema[inner], f"{path}[]")


def is_bounded(node: Json) -> bool:
    if node.get("x-kubernetes-int-or-string"):
        return {"minimum", "maximum", "maxLength", "pattern"} <= node.keys()
    bounds = {
        "string": [{"maxLength"}, {"enum"}],
        "array": [{"maxItems", "items"}],
        "integer": [{"minimum", "maximum"}],
        "object": [{"properties"}, {"maxProperties", "additionalProperties"}],
        "boolean": [set()],
    }
    return any(wanted <= node.keys() for wanted in bounds[node["type"]])


def test_every_list_map_string_and_number_is_bounded() -> None:
    unbounded = [path for path, node in nodes(whole_schema()) if not is_bounded(node)]
    assert unbounded == []


def test_the_schema_is_structural_and_has_no_defaults() -> None:
    forbidden = {"$ref", "title", "default", "oneOf", "allOf", "not", "const", "patternProperties", "propertyNames"}
    for path, node in nodes(whole_schema()):
        assert not forbidden & node.keys(), path
        assert "anyOf" not in node or node["x-kubernetes-int-or-string"], path
        assert node.get("type") != "number", path
        assert node.get("additionalProperties") is not False, path


def test_every_field_says_what_it_is() -> None:
    silent = [
        path
        for path, node in nodes(whole_schema())
        if node.get("description", "Default:").startswith("Default:") and not path.endswith("[]")
    ]
    assert silent == [".metadata", ".metadata.name"]


def test_descriptions_say_what_holds_without_the_field() -> None:
    spec = whole_schema()["properties"]["spec"]["properties"]
    assert spec["serve"]["properties"]["port"]["description"].endswith("Default: 50051.")
    assert spec["suspend"]["description"].endswith("Default: false.")
    assert spec["evaluation"]["properties"]["constraints"]["description"].endswith("Default: RoleGrammar.")


def test_what_may_be_null_in_a_file_may_be_null_in_the_resource() -> None:
    nullable = {path for path, node in nodes(whole_schema()) if node.get("nullable")}
    assert {".spec.queue", ".spec.resources.train.limits"} <= nullable
    never = {".spec.role", ".spec.suspend", ".spec.serve", ".spec.dataset.minScore", ".spec.evaluation.gates.minScore"}
    assert not never & nullable


def test_every_rule_has_a_case() -> None:
    rules = [rule for _, node in nodes(whole_schema()) for rule in node.get(RULES_KEY, [])]
    messages = {rule["message"] for rule in rules if "oldSelf" not in rule["rule"]}
    assert [message for message in sorted(messages) if not any(pair.refused_with in message for pair in OF_RULES)] == []


def test_client_side_apply_can_carry_it() -> None:
    remembered = json.dumps(custom_resource_definition(), separators=(",", ":")).encode()
    assert len(remembered) < CLIENT_SIDE_APPLY_BYTES / 2


def test_the_chart_leaves_braces_of_the_resource_alone() -> None:
    template = as_chart_template("rule: '{{1}}'\n")
    assert template == "{{- if .Values.crd.install }}\nrule: '{{ `{{` }}1}}'\n{{- end }}\n"


@pytest.mark.parametrize("pair", PAIRS, ids=case_names(PAIRS))
def test_what_the_resource_refuses_validate_refuses(pair: Pair) -> None:
    accepted, refused = pair.documents()
    validate(accepted)
    with pytest.raises(InvalidArgument):
        validate(refused)


@pytest.mark.parametrize("document", WITH_NULLS, ids=range(len(WITH_NULLS)))
def test_null_is_as_if_the_field_was_not_there(document: Json) -> None:
    validate(document)


@pytest.mark.parametrize(("text", "fine"), FRACTIONS.items())
def test_a_fraction_is_a_decimal_within_0_and_1(text: str, fine: bool) -> None:
    document = changed(IMPORTED, {"dataset.minScore": text})
    if fine:
        validate(document)
        return
    with pytest.raises(InvalidArgument):
        validate(document)


@pytest.mark.parametrize(("line", "fine"), SCALARS.items())
def test_a_file_is_read_as_kubectl_reads_it(tmp_path: Path, line: str, fine: bool) -> None:
    path = tmp_path / "distillation.yaml"
    path.write_text(with_line(line))
    if fine:
        load_distillation(path)
        return
    with pytest.raises(InvalidArgument):
        load_distillation(path)


@pytest.mark.parametrize("value", ["y", "1e9", "1:30", "0o17", "2030-01-31", "08", "=", "", "~", 5, 5.5, True, None])
def test_what_is_written_reads_back_for_either_reader(value: object) -> None:
    text = dump_yaml({"key": value})
    assert load_yaml(text) == yaml.safe_load(text) == {"key": value}


def test_a_message_too_long_for_the_status_is_cut() -> None:
    condition = Condition(
        type="Trained", status="False", last_transition_time="2030-01-31T12:00:00Z", reason="Failed", message="x" * 9999
    )
    assert len(condition.message) == MESSAGE_LENGTH
    assert condition.message.endswith("x…")


def test_what_a_newer_controller_adds_to_the_status_is_passed_over() -> None:
    assert DistillationStatus.model_validate({"records": 5, "novelty": 1}) == DistillationStatus(records=5)
