"""What the pods of a stage may use and where they may run. Part of the models and of the controller's settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice, repeat
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from stillhouse.spec.cel import Rule, as_schema
from stillhouse.spec.scalars import load_yaml
from stillhouse.spec.sources import SpecModel

Stage = Literal["generate", "dataset", "base", "train", "export", "optimize", "evaluate", "serve"]
"""What `spec.resources` is keyed by; serve is the student's Deployment."""

_QUANTITY = r"^[0-9]{1,12}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{prefix: Decimal(1000**power) for power, prefix in enumerate("kMGTPE", 1)},
    **{f"{prefix}i": Decimal(1024**power) for power, prefix in enumerate("KMGTPE", 1)},
}
_LABEL_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_QUALIFIED_NAME = rf"^({_DNS_NAME}/)?{_LABEL_PART}$"
_MOST_KEYS = 16
_MOST_NODES = 4096


def _quantity_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def parse_pod_patch(text: str) -> dict[str, Any]:
    """The mapping in a podPatch, as JSON has it. Raises ValueError."""
    try:
        patch = load_yaml(text)
        if not isinstance(patch, dict):
            raise ValueError("it is no mapping of a pod's fields")
        _check_json(patch, islice(repeat(None), _MOST_NODES))
    except (yaml.YAMLError, RecursionError) as exc:
        raise ValueError(f"it is not YAML: {' '.join(str(exc).split())}") from exc
    return patch


def _check_json(value: object, left: Iterator[None]) -> None:
    """A few aliases stand for any number of values: `left` is what may still come."""
    if next(left, left) is left:
        raise ValueError(f"it holds more than {_MOST_NODES} values")
    match value:
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise ValueError("a key of it is no string: quote it")
            for entry in value.values():
                _check_json(entry, left)
        case list():
            for entry in value:
                _check_json(entry, left)
        case None | bool() | int() | str():
            return
        case float() if math.isfinite(value):
            return
        case _:
            raise ValueError(f"JSON has no {type(value).__name__} such as {value}")


def _is_mapping(text: str) -> str:
    parse_pod_patch(text)
    return text


Quantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    StringConstraints(pattern=_QUANTITY, max_length=32),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 999_999_999_999},
                {"type": "string", "pattern": _QUANTITY, "maxLength": 32},
            ],
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""A Kubernetes quantity, such as 2, 500m or 6Gi."""

_KEYS_RULE = as_schema(
    Rule(
        f"self.all(key, size(key) <= 317 && key.matches('{_QUALIFIED_NAME}'))",
        "a key is no name such as cpu or example.com/gpu",
    )
)
QualifiedName = Annotated[str, StringConstraints(pattern=_QUALIFIED_NAME, max_length=317)]
Quantities = Annotated[dict[QualifiedName, Quantity], Field(max_length=_MOST_KEYS, json_schema_extra=_KEYS_RULE)]
LabelValue = Annotated[str, StringConstraints(pattern=rf"^({_LABEL_PART})?$", max_length=63)]
Labels = Annotated[dict[QualifiedName, LabelValue], Field(max_length=_MOST_KEYS, json_schema_extra=_KEYS_RULE)]
ClassName = Annotated[str, StringConstraints(pattern=rf"^{_DNS_NAME}$", max_length=253)]

PodPatch = Annotated[str, StringConstraints(min_length=1, max_length=16_384), AfterValidator(_is_mapping)]


class Toleration(SpecModel):
    """A taint of nodes that the pods tolerate."""

    key: QualifiedName | None = None
    """Of the taint; default, with operator Exists: all keys."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Equal compares the value as well."""
    value: LabelValue | None = None
    """Of the taint, for operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Of the taint; default: all effects."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long a pod stays after a NoExecute taint appeared; default: forever."""

    @model_validator(mode="after")
    def _as_kubernetes_wants_it(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("a toleration without a key has operator Exists")
        if self.operator == "Exists" and self.value:
            raise ValueError("a toleration with operator Exists has no value")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds is for effect NoExecute")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return (
            Rule(
                "has(self.key) || self.?operator.orValue('Equal') == 'Exists'",
                "a toleration without a key has operator Exists",
            ),
            Rule(
                "self.?operator.orValue('Equal') != 'Exists' || self.?value.orValue('') == ''",
                "a toleration with operator Exists has no value",
            ),
            Rule(
                "!has(self.tolerationSeconds) || self.?effect.orValue('') == 'NoExecute'",
                "tolerationSeconds is for effect NoExecute",
            ),
        )


class StageResources(SpecModel):
    """The pods of one stage; what is not given is the installation's. A laptop reads none of it."""

    requests: Quantities | None = None
    """What a node must have left, by resource: cpu: 2, memory: 6Gi."""
    limits: Quantities | None = None
    """What is used at most, by resource; nvidia.com/gpu: 1 asks for a GPU."""
    node_selector: Labels | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints of nodes that the pods tolerate."""
    priority_class_name: ClassName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ClassName | None = None
    """RuntimeClass of the pods."""
    deadline_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    """A Job that runs longer is ended as failed."""
    pod_patch: PodPatch | None = None
    """YAML that is merged into the pod's spec, for what has no field here."""

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        for name, wanted in (self.requests or {}).items():
            limit = (self.limits or {}).get(name)
            if limit is not None and amount(wanted) > amount(limit):
                raise ValueError(f"requests ask for more {name} than limits allow: {wanted} against {limit}")
        return self

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        return (
            Rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(key, !(key in self.limits) || "
                "quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) <= 0)",
                "requests ask for more than limits allow",
            ),
        )


def amount(quantity: str) -> Decimal:
    """The number that a Quantity stands for: bytes, cores, pieces."""
    digits = quantity.rstrip("mkKMGTPEi")
    return Decimal(digits) * _SUFFIXES[quantity[len(digits) :]]
