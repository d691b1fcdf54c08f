"""Writes the Kubernetes resource of a Distillation to standard output: `python -m stillhouse.spec.crd [--chart]`.

Made of the models' JSON schema: structural, every value bounded, no defaults (the controller fills them in). Called by
`make generate`.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from pydantic import BaseModel

from stillhouse.spec.cel import RULES_KEY
from stillhouse.spec.models import Distillation, DistillationSpec, Metadata
from stillhouse.spec.scalars import dump_yaml
from stillhouse.spec.status import DistillationStatus

GROUP, VERSION, KIND, PLURAL = "stillhouse.dev", "v1alpha1", "Distillation", "distillations"

Schema = dict[str, Any]

_HEAD = "# Written by `make generate` from services/stillhouse/spec; change it there.\n"

_AS_THEY_ARE = (
    "type",
    "description",
    "enum",
    "format",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    RULES_KEY,
)
_COLUMNS = (
    ("Stage", "string", ".status.stage", "What runs now, or how it ended"),
    ("Records", "integer", ".status.records", "Records in the data set"),
    ("Score", "string", ".status.score", "The student's mean score on the held-out rows"),
    ("Gap", "string", ".status.gap", "(reference - student) / reference"),
    ("Serving", "string", ".status.serving", "Whether this student is served"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created"),
)


def custom_resource_definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/name": "stillhouse"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["dist"],
                "categories": ["stillhouse"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def as_chart_template(text: str) -> str:
    """YAML as a template of the chart: only where it is wanted, and with braces of its own left alone."""
    escaped = text.replace("{{", "{{ `{{` }}")
    return f"{{{{- if .Values.crd.install }}}}\n{escaped}{{{{- end }}}}\n"


def structural(model: type[BaseModel]) -> Schema:
    """The model's schema as Kubernetes wants it. Raises ValueError for what has no structural form."""
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _version() -> dict[str, Any]:
    name = structural(Metadata)["properties"]["name"]
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "description": Distillation.__doc__,
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string", "maxLength": 64, "description": f"{GROUP}/{VERSION}"},
                    "kind": {"type": "string", "maxLength": 64, "description": KIND},
                    "metadata": {
                        "type": "object",
                        "properties": {"name": {key: name[key] for key in ("type", "pattern", "maxLength")}},
                    },
                    "spec": structural(DistillationSpec),
                    "status": structural(DistillationStatus),
                },
            }
        },
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": column, "type": kind, "jsonPath": path, "description": description}
            for column, kind, path, description in _COLUMNS
        ],
    }


def _structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _resolved(schema, definitions)
    if schema.get("x-kubernetes-int-or-string"):
        return _int_or_string(schema)
    made = {key: schema[key] for key in _AS_THEY_ARE if key in schema}
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if schema.get("nullable"):
        made["nullable"] = True
        if values := made.pop("enum", None):
            # The API server finds null in no enum, not even in one that lists it; a pattern is asked of strings alone.
            made["pattern"] = f"^({'|'.join(map(re.escape, values))})$"
            made["maxLength"] = max(map(len, values))
    if text := _description(schema):
        made["description"] = text
    if "items" in schema:
        made["items"] = _structural(schema["items"], definitions)
    if properties := _properties(schema):
        made["properties"] = {name: _structural(value, definitions) for name, value in properties.items()}
    elif (values := _values(schema)) is not None:
        made["additionalProperties"] = _structural(values, definitions)
    if "type" not in made:
        raise ValueError(f"a schema without a type has no structural form: {schema}")
    return made


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with its reference, and a choice between it and null, put in place; what stands beside them wins.

    To a rule a null is an unset field, but server-side apply refuses one that is not declared.
    """
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolved(definitions[schema["$ref"].rpartition("/")[2]] | beside, definitions)
    choices = schema.get("anyOf", [])
    if {"type": "null"} not in choices:
        return schema
    (choice,) = [choice for choice in choices if choice != {"type": "null"}]
    beside = {key: value for key, value in schema.items() if key != "anyOf"}
    return _resolved(choice, definitions) | beside | {"nullable": True}


def _int_or_string(schema: Schema) -> Schema:
    bounds = {key: value for choice in schema["anyOf"] for key, value in choice.items() if key != "type"}
    types = [{"type": choice["type"]} for choice in schema["anyOf"]]
    return {"anyOf": types, "x-kubernetes-int-or-string": True} | bounds


def _properties(schema: Schema) -> dict[str, Schema]:
    """An object's fields; a map with a closed set of keys is one too."""
    if keys := schema.get("propertyNames", {}).get("enum"):
        of_all: Schema = schema["additionalProperties"]
        return dict.fromkeys(keys, of_all)
    properties: dict[str, Schema] = schema.get("properties", {})
    return properties


def _values(schema: Schema) -> Schema | None:
    """What a map holds; a rule in CEL says what its keys look like."""
    if patterns := schema.get("patternProperties"):
        (values,) = patterns.values()
        return dict(values)
    values = schema.get("additionalProperties")
    return values if isinstance(values, dict) else None


def _description(schema: Schema) -> str:
    text = " ".join(schema.get("description", "").split())
    default = schema.get("default")
    if default is None or default in ([], {}) or isinstance(default, dict):
        return text
    shown = "true" if default is True else "false" if default is False else default
    shown = ", ".join(default) if isinstance(default, list) else shown
    return f"{text} Default: {shown}.".strip()


def main() -> None:
    """Writes the CRD, or with --chart the chart's template of it."""
    parser = argparse.ArgumentParser(prog="python -m stillhouse.spec.crd", description=main.__doc__)
    parser.add_argument("--chart", action="store_true", help="as a template of the chart")
    arguments = parser.parse_args()
    text = _HEAD + dump_yaml(custom_resource_definition())
    sys.stdout.write(as_chart_template(text) if arguments.chart else text)


if __name__ == "__main__":
    main()
