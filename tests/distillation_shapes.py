"""More Distillations that are accepted and refused: by structure, by null, by decimal, by how YAML is read.

Beside `distillation_cases`, which has those of the rules, and for the same two tests.
"""

from __future__ import annotations

from distillation_cases import ABSENT, DIGEST, IMPORTED, STAGES, TAUGHT, Pair, changed, pods

STRUCTURE = [
    Pair("Required value", {}, {"role": ABSENT}),
    Pair("Required value", {}, {"dataset": None}),
    Pair("unknown field", {}, {"studnet": {}}),
    Pair("unknown field", {"student.training.epochs": 3}, {"student.training.epoch": 3}),
    Pair("unknown field", {"resources": {"serve": {}}}, {"resources": {"sreve": {}}}),
    Pair("Unsupported value", {"serve.policy": "Always"}, {"serve.policy": "always"}),
    Pair("Unsupported value", {"evaluation.constraints": ["None"]}, {"evaluation.constraints": ["Grammar"]}),
    Pair("must be of type string", {"role": "product_owner"}, {"role": 5}),
    Pair("must be of type string", {"dataset.minScore": "0.8"}, {"dataset.minScore": 0.8}),
    Pair("must be of type integer", {"dataset.minRecords": 5}, {"dataset.minRecords": "5"}),
    Pair("must be of type boolean", {"suspend": True}, {"suspend": "true"}),
    Pair("must be of type array", {"dataset.balance": []}, {"dataset.balance": {}}),
    Pair("must be of type object", {"serve": {}}, {"serve": "product-owner"}),
    Pair("should be at least 1 chars", {"store": "s"}, {"store": ""}),
    Pair("may not be more than 256", {"student.revision": "r" * 256}, {"student.revision": "r" * 257}),
    Pair("may not be more than 2048", {"store": "ü" * 2048}, {"store": "ü" * 2049}),
    Pair("should match", {"serve.name": "product-owner"}, {"serve.name": "Product"}),
    Pair("should match", {"serve.pin": f"sha256:{DIGEST}"}, {"serve.pin": DIGEST}),
    Pair("should match", {"queue": "a"}, {"queue": "a_b"}),
    Pair("should match", {"export.quantization": "Q8_0"}, {"export.quantization": "q8_0"}),
    Pair("should match", {"student.training.learningRate": "2e-4"}, {"student.training.learningRate": "-2e-4"}),
    Pair("should match", {"/metadata.name": "a-1"}, {"/metadata.name": "a.1"}),
    Pair("may not be more than 63", {"/metadata.name": "a" * 63}, {"/metadata.name": "a" * 64}),
    Pair("should be greater than or equal to 1", {"student.lora.rank": 1}, {"student.lora.rank": 0}),
    Pair("should be less than or equal to 1024", {"student.lora.rank": 1024}, {"student.lora.rank": 1025}),
    Pair("less than or equal to", {"dataset.minRecords": 10**9}, {"dataset.minRecords": 10**9 + 1}),
    Pair("dataset.minRecords", {"dataset.minRecords": 10**9}, {"dataset.minRecords": 10**30}),
    Pair("should have at least 1 items", {"evaluation.constraints": ["None"]}, {"evaluation.constraints": []}),
    Pair(
        "must have at most 32 items",
        {"dataset.imports": [{"uri": "x"}] * 32},
        {"dataset.imports": [{"uri": "x"}] * 33},
    ),
    pods("should match", {"limits": {"memory": "6Gi"}}, {"limits": {"memory": "6GB"}}),
    pods("should match", {"limits": {"memory": "0.5Gi"}}, {"limits": {"memory": "-1"}}),
    pods("greater than or equal to 0", {"limits": {"cpu": 0}}, {"limits": {"cpu": -1}}),
    pods("must be of type integer,string", {"limits": {"cpu": 1}}, {"limits": {"cpu": True}}),
    pods(
        "must have at most 16 items",
        {"nodeSelector": {f"k{i}": "v" for i in range(16)}},
        {"nodeSelector": {f"k{i}": "v" for i in range(17)}},
    ),
    pods("should be less than or equal to 2592000", {"deadlineSeconds": 2_592_000}, {"deadlineSeconds": 2_592_001}),
]
"""One for each kind of structural rule, with what is likely to be mistyped."""

UNSET = [
    changed(TAUGHT, {"queue": None, "dataset.validation": None, "serve.pin": None, "dataset.split": {"train": None}}),
    changed(TAUGHT, {"dataset.concepts": {"uri": None, "synthesized": {"count": 50}}}),
    changed(TAUGHT, {STAGES: [{"import": None, "name": None, "endpoint": None, "thinkingBudget": None}]}),
    changed(TAUGHT, {STAGES: [{"records": None, "until": 30}], "evaluation.teacher": True}),
    changed(IMPORTED, {"dataset.teacher": None, "dataset.concepts": None}),
    changed(IMPORTED, {"resources.train": {"requests": {"cpu": 1}, "limits": None, "tolerations": None}}),
    changed(IMPORTED, {"student.training": {"schedule": None, "precision": None, "epochs": None}}),
]
"""Accepted: a null is as if the field was not there."""

FRACTIONS = {
    "0": True,
    "1": True,
    "1e0": True,
    "1.000000000000": True,
    "10e-1": True,
    "100000000000e-11": True,
    "0e99": True,
    "1e-99": True,
    "000000000001": True,
    "999999999999.999999999999e-12": True,
    "1.000000000001": False,
    "100000000000.000000000001e-11": False,
    "1e1": False,
    "999999999999e99": False,
    "1.0000000000000000001": False,
    "0.0000000000001": False,
    "0x1": False,
    "": False,
    " 1": False,
    "1 ": False,
    "1\n": False,
    "+1": False,
    "-0": False,
    ".5": False,
    "1.": False,
    "1e": False,
    "1_0": False,
    "1,0": False,
    "1m": False,
    "NaN": False,
    "inf": False,
    "１": False,
}
"""Texts, and whether they are decimals within [0, 1]."""

SCALARS = {
    "student: {training: {learningRate: 2e-4}}": False,
    'student: {training: {learningRate: "2e-4"}}': True,
    "student: {revision: 1234567e8}": False,
    "student: {revision: 1234567f8}": True,
    "student: {revision: 0o17}": False,
    "student: {revision: y}": False,
    "student: {revision: 2030-01-31}": True,
    "student: {revision: 1:30}": True,
    "serve: {port: 1:30}": False,
    "serve: {port: 0x1F}": True,
    "serve: {port: 1_000}": True,
    "suspend: on": True,
}
"""Lines of YAML below spec, and whether what they are read as is accepted."""


def with_line(line: str) -> str:
    """A Distillation in YAML with that line below its spec."""
    head = "apiVersion: stillhouse.dev/v1alpha1\nkind: Distillation\nmetadata: {name: scalars}\nspec:\n"
    return f"{head}  role: product_owner\n  dataset: {{imports: [{{uri: rows.jsonl}}]}}\n  {line}\n"
