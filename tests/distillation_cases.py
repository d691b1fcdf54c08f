"""Distillations that are accepted and refused, for `stillhouse validate` and for the API server alike.

Each Pair is a near miss: what is accepted differs from what is refused in the one point that `refused_with` speaks of,
in the words of the API server.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Changes = dict[str, Any]

ABSENT = object()
DIGEST = "0123456789abcdef" * 4
IMPORT = {"import": {"uri": "rows.jsonl"}}
EMULATED = {"provider": "emulator"}
STAGES = "dataset.teacher.stages"

IMPORTED: Json = {
    "apiVersion": "stillhouse.dev/v1alpha1",
    "kind": "Distillation",
    "metadata": {"name": "case"},
    "spec": {"role": "product_owner", "dataset": {"imports": [{"uri": "rows.jsonl"}]}},
}
TAUGHT: Json = {
    **IMPORTED,
    "spec": {
        "role": "product_owner",
        "dataset": {"concepts": {"uri": "concepts.jsonl"}, "teacher": {"stages": [{}]}},
    },
}


@dataclass(frozen=True)
class Pair:
    """Two sets of changes to a Distillation, by path below its spec; ABSENT takes a key out."""

    refused_with: str
    accepted: Changes
    refused: Changes
    base: str = "imported"

    def documents(self) -> tuple[Json, Json]:
        """The Distillation that is accepted, and the one that is refused."""
        base = TAUGHT if self.base == "taught" else IMPORTED
        return changed(base, self.accepted), changed(base, self.refused)


def changed(document: Json, changes: Changes) -> Json:
    """A copy with the values at the paths; those with a leading slash start at the top."""
    document = copy.deepcopy(document)
    for path, value in changes.items():
        node = document if path.startswith("/") else document["spec"]
        *parents, last = path.removeprefix("/").split(".")
        for part in parents:
            node = node.setdefault(part, {})
        if value is ABSENT:
            del node[last]
        else:
            node[last] = value
    return document


def taught(refused_with: str, accepted: Changes, refused: Changes) -> Pair:
    return Pair(refused_with, accepted, refused, base="taught")


def stages(refused_with: str, accepted: list[Json], refused: list[Json]) -> Pair:
    return taught(refused_with, {STAGES: accepted}, {STAGES: refused})


def training(refused_with: str, accepted: Json, refused: Json) -> Pair:
    return Pair(refused_with, {"student.training": accepted}, {"student.training": refused})


def pods(refused_with: str, accepted: Json, refused: Json) -> Pair:
    return Pair(refused_with, {"resources.train": accepted}, {"resources.train": refused})


def _tolerations(refused_with: str, accepted: Json, refused: Json) -> Pair:
    return pods(refused_with, {"tolerations": [accepted]}, {"tolerations": [refused]})


_SYNTHESIZED = {"synthesized": {"count": 40}}
_TIER = {"label": "tier", "value": "simple", "maxRecords": 5}
_PRICE = {"model": "m", "inputPerMillionUsd": "0.1", "outputPerMillionUsd": "1"}

RULES = [
    # sources
    Pair("an import has either uri or synthesized", {"dataset.imports": [_SYNTHESIZED]}, {"dataset.imports": [{}]}),
    Pair(
        "an import has either uri or synthesized",
        {"dataset.imports": [{"uri": "x"}]},
        {"dataset.imports": [{"uri": "x", **_SYNTHESIZED}]},
    ),
    Pair(
        "sha256 belongs to a uri",
        {"dataset.imports": [{"uri": "x", "sha256": DIGEST}]},
        {"dataset.imports": [{**_SYNTHESIZED, "sha256": DIGEST}]},
    ),
    taught("concepts have either uri or synthesized", {"dataset.concepts": _SYNTHESIZED}, {"dataset.concepts": {}}),
    taught(
        "concepts have either uri or synthesized",
        {"dataset.concepts": {"uri": "x", "synthesized": None}},
        {"dataset.concepts": {"uri": "x", **_SYNTHESIZED}},
    ),
    # data set
    taught("concepts are for a teacher", {}, {"dataset.teacher": ABSENT, "dataset.imports": [{"uri": "x"}]}),
    Pair("a data set has a teacher, imports or both", {}, {"dataset.imports": []}),
    Pair("a data set has a teacher, imports or both", {}, {"dataset.imports": ABSENT}),
    taught("a teacher is asked about concepts", {}, {"dataset.concepts": ABSENT}),
    stages("the teacher's stages end at fewer records", [{"records": 20}], [{"records": 19}]),
    taught("the teacher's stages end at fewer records", {"dataset.minRecords": 400}, {"dataset.minRecords": 401}),
    taught(
        "the teacher's stages end at fewer records",
        {STAGES: [{"records": 19}], "dataset.imports": [{"uri": "x"}]},
        {STAGES: [{"records": 19}], "dataset.imports": []},
    ),
    stages(
        "the teacher's stages end at fewer records",
        [{"until": 9}, {"name": "b", "until": 15}, {"name": "c", "records": 5}],
        [{"until": 15}, {"name": "b", "records": 3}, {"name": "c", "until": 19}],
    ),
    stages(
        "the teacher's stages end at fewer records",
        [{"records": 5}, {"name": "b", "until": 3}, {"name": "c", "records": 15}],
        [{"records": 5}, {"name": "b", "until": 6}, {"name": "c", "records": 13}],
    ),
    stages(
        "the teacher's stages end at fewer records",
        [IMPORT, {"name": "b", "records": 5}],
        [{**IMPORT, "records": 14}, {"name": "b", "records": 5}],
    ),
    taught(
        "the concepts give fewer records than minRecords",
        {"dataset.concepts": {"synthesized": {"count": 20}}},
        {"dataset.concepts": {"synthesized": {"count": 19}}},
    ),
    taught(
        "the concepts give fewer records than minRecords",
        {"dataset.concepts": {"synthesized": {"count": 10}, "whenExhausted": "SecondAnswer"}},
        {"dataset.concepts": {"synthesized": {"count": 10}, "whenExhausted": "Stop"}},
    ),
    taught(
        "the concepts give fewer records than minRecords",
        {"dataset.concepts": {"synthesized": {"count": 1}}, STAGES: [IMPORT, {}]},
        {"dataset.concepts": {"synthesized": {"count": 1}}},
    ),
    Pair("split.train 0 leaves nothing", {"dataset.split": {"train": "0.01"}}, {"dataset.split": {"train": "0e5"}}),
    Pair(
        "train and validation are more than 1 together",
        {"dataset.split": {"train": "0.6", "validation": "0.4"}},
        {"dataset.split": {"train": "0.6", "validation": "0.41"}},
    ),
    Pair(
        "train and validation are more than 1 together",
        {"dataset.split": {"train": "0.9"}, "dataset.validation": {"uri": "x"}},
        {"dataset.split": {"train": "0.9"}},
    ),
    Pair(
        "train and validation are more than 1 together",
        {"dataset.split": {"validation": "0.2"}},
        {"dataset.split": {"validation": "0.2"}, "dataset.validation": {"uri": "x"}},
    ),
    Pair(
        "balance names a label's value twice",
        {"dataset.balance": [_TIER, {**_TIER, "value": "other"}]},
        {"dataset.balance": [_TIER, {**_TIER, "maxRecords": 9}]},
    ),
    # teacher
    stages("a stage has records or until, not both", [{"records": None, "until": 30}], [{"records": 30, "until": 30}]),
    stages("a stage has records or until, not both", [{"records": 30}], [{"records": 30, "until": 40}]),
    stages(
        "a stage with import asks no model", [{**IMPORT, "temperature": "0.7"}], [{**IMPORT, "temperature": "0.70"}]
    ),
    stages("a stage with import asks no model", [{**IMPORT, "project": None}], [{**IMPORT, "project": "p"}]),
    stages(
        "a stage with import asks no model",
        [{**IMPORT, "emulator": {"seed": 0}}],
        [{**IMPORT, "emulator": {"seed": 1}}],
    ),
    stages("only Google's providers", [{"project": "p"}], [{"provider": "litellm", "project": "p"}]),
    stages(
        "only Google's providers",
        [{"provider": "litellm", "location": "us-central1"}],
        [{"provider": "litellm", "location": "global"}],
    ),
    stages("emulator is for provider emulator", [{**EMULATED, "emulator": {"seed": 1}}], [{"emulator": {"seed": 1}}]),
    stages(
        "thinkingBudget leaves no token",
        [{"thinkingBudget": 511, "maxOutputTokens": 512}],
        [{"thinkingBudget": 512, "maxOutputTokens": 512}],
    ),
    stages("thinkingBudget leaves no token", [{"thinkingBudget": 8191}], [{"thinkingBudget": 8192}]),
    stages(
        "a gguf file has no endpoint",
        [{"provider": "gguf", "model": "x.gguf"}],
        [{"provider": "gguf", "model": "x.gguf", "endpoint": "http://h"}],
    ),
    stages(
        "a student is asked at an endpoint HOST:PORT",
        [{"provider": "student", "endpoint": "h:50051"}],
        [{"provider": "student", "endpoint": "http://h:50051"}],
    ),
    stages(
        "a student is asked at an endpoint HOST:PORT",
        [{"provider": "student", "endpoint": "h:1"}],
        [{"provider": "student"}],
    ),
    stages("the endpoint is no URL", [{"endpoint": "https://h"}], [{"endpoint": "h:443"}]),
    stages("two stages are called the same", [{}, {"name": "second"}], [{}, {"records": 50}]),
    stages("two stages are called the same", [IMPORT, {}], [IMPORT, {"name": "import"}]),
    stages(
        "two stages are called the same",
        [{"model": "m" * 62}, {"model": "m" * 63}],
        [{"model": "m" * 63}, {"model": "m" * 64}],
    ),
    taught(
        "prices names a model twice",
        {"dataset.teacher.prices": [_PRICE, {**_PRICE, "model": "n"}]},
        {"dataset.teacher.prices": [_PRICE, _PRICE]},
    ),
    # the whole
    taught(
        "evaluation.teacher needs a stage",
        {"evaluation.teacher": True, STAGES: [IMPORT, {}]},
        {"evaluation.teacher": True, STAGES: [IMPORT]},
    ),
    Pair("evaluation.teacher needs a stage", {"evaluation.teacher": False}, {"evaluation.teacher": True}),
    stages("a stage's minScore is below dataset.minScore", [{"minScore": "0.8"}], [{"minScore": "0.799999999999"}]),
    taught(
        "a stage's minScore is below dataset.minScore",
        {"dataset.minScore": "0.8000"},
        {"dataset.minScore": "0.800000000001"},
    ),
    # pods
    pods("a key is no name", {"limits": {"nvidia.com/gpu": 1}}, {"limits": {"nvidia.com/": 1}}),
    pods("a key is no name", {"requests": {"cpu": "1"}}, {"requests": {"c" * 64: "1"}}),
    pods("a key is no name", {"nodeSelector": {"a.b/c": "d"}}, {"nodeSelector": {"a b": "d"}}),
    pods(
        "requests ask for more than limits allow",
        {"requests": {"memory": "1024Mi", "cpu": "1"}, "limits": {"memory": "1Gi"}},
        {"requests": {"memory": "1025Mi", "cpu": "1"}, "limits": {"memory": "1Gi"}},
    ),
    pods(
        "requests ask for more than limits allow",
        {"requests": {"cpu": "1500m"}, "limits": {"cpu": 2}},
        {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}},
    ),
    _tolerations("a toleration without a key", {"operator": "Exists"}, {"effect": "NoSchedule"}),
    _tolerations(
        "a toleration with operator Exists has no value",
        {"key": "gpu", "value": "yes"},
        {"key": "gpu", "operator": "Exists", "value": "yes"},
    ),
    _tolerations(
        "tolerationSeconds is for effect NoExecute",
        {"key": "a", "effect": "NoExecute", "tolerationSeconds": 5},
        {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5},
    ),
    # decimals
    Pair("it is not within 0 and 1", {"dataset.minScore": "1.000"}, {"dataset.minScore": "1.000000000001"}),
    Pair("it is not within 0 and 1", {"dataset.minMeanScore": "0"}, {"dataset.minMeanScore": "2"}),
    Pair("it is not within 0 and 1", {"dataset.split": {"validation": "0"}}, {"dataset.split": {"validation": "9"}}),
    Pair(
        "it is not within 0 and 1", {"evaluation.gates": {"minScore": "None"}}, {"evaluation.gates": {"minScore": "3"}}
    ),
    Pair("it is not within 0 and 1", {"student.lora": {"dropout": "1"}}, {"student.lora": {"dropout": "1.1"}}),
    training("it is not within 0 and 1", {"warmupFraction": "1e-1"}, {"warmupFraction": "1e1"}),
    stages("it is not within 0 and 1", [{"minScore": "1"}], [{"minScore": "1.5"}]),
    Pair("it is not within 0 and 2", {"evaluation.temperature": "2"}, {"evaluation.temperature": "2.1"}),
    stages(
        "it is not within 0 and 3600",
        [{**EMULATED, "emulator": {"latencySeconds": "3600"}}],
        [{**EMULATED, "emulator": {"latencySeconds": "3601"}}],
    ),
    Pair("it is not within 0 and 1000000", {"budget.maxCostUsd": "1e6"}, {"budget.maxCostUsd": "1e7"}),
    Pair("it is not within 0 and 1000000", {"budget.maxCostUsd": None}, {"budget.maxCostUsd": "1000001"}),
]
"""At least one for each rule in CEL, those about a change excepted."""


def case_names(pairs: list[Pair]) -> Iterator[str]:
    """An id for each pair."""
    for number, pair in enumerate(pairs):
        yield f"{number}-{pair.refused_with}"
