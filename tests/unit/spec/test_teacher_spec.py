"""A teacher in a Distillation: defaults, what is refused and in which words, and what is written out reads back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stillhouse.controller.requests import check
from stillhouse.errors import InvalidArgument
from stillhouse.spec.loading import parse_distillation
from stillhouse.spec.models import Distillation

IMPORT = {"import": {"uri": "rows.jsonl"}}
FLASH: dict[str, Any] = {"provider": "vertex", "model": "gemini-2.5-flash"}
TEACHER: dict[str, Any] = {
    "apiVersion": "stillhouse.dev/v1alpha1",
    "kind": "Distillation",
    "metadata": {"name": "taught"},
    "spec": {
        "role": "product_owner",
        "dataset": {"concepts": {"uri": "concepts.jsonl"}, "teacher": {"stages": [FLASH]}},
    },
}


def load(**changes: Any) -> Distillation:
    """The teacher's file with `dataset__teacher__seed=1` for spec.dataset.teacher.seed; None takes a key out."""
    document = copy.deepcopy(TEACHER)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = document["spec"]
        for part in parents:
            node = node.setdefault(part, {})
        if value is None:
            del node[last]
        else:
            node[last] = value
    distillation = parse_distillation(document, source="file")
    check(distillation.spec)
    return distillation


def stages(*values: dict[str, Any]) -> dict[str, Any]:
    return {"dataset__teacher__stages": list(values)}


def test_a_stage_has_the_documented_defaults() -> None:
    (stage,) = load(**stages({})).spec.teacher_stages
    assert (stage.provider, stage.model, stage.label) == ("vertex", "gemini-2.5-flash", "gemini-2.5-flash")
    assert (stage.min_score, stage.prompt, stage.max_output_tokens) == ("0.80", "Fenced", 8192)
    spec = load().spec
    assert spec.dataset.teacher is not None
    assert spec.dataset.teacher.most_records == 400
    assert spec.dataset.min_mean_score == "0.85"
    assert spec.dataset.concepts is not None
    assert spec.dataset.concepts.when_exhausted == "Stop"


def test_a_file_with_every_default_written_out_reads_back_equal() -> None:
    hybrid = load(**stages(IMPORT, FLASH, {"provider": "emulator", "model": "gemini-2.5-pro"}))
    again = parse_distillation(hybrid.model_dump(mode="json", by_alias=True), source="file")
    assert again == hybrid
    assert again.spec.teacher_stages[0].label == "import"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset__concepts": None}, "spec.dataset: a teacher is asked about concepts: name them by uri, or"),
        ({"dataset__teacher": None}, "spec.dataset: concepts are for a teacher: name one, or leave them out"),
        ({"dataset__concepts": {}}, "spec.dataset.concepts: concepts have either uri or synthesized"),
        (
            {"dataset__concepts": {"uri": "x", "synthesized": {"count": 1}}},
            "spec.dataset.concepts: concepts have either uri or synthesized",
        ),
        (
            {"dataset__concepts": {"synthesized": {"count": 1}, "sha256": "0" * 64}},
            "spec.dataset.concepts: sha256 belongs to a uri",
        ),
        (
            {"dataset__concepts": {"synthesized": {"count": 19}}},
            "spec.dataset: the concepts give 19 records at most, fewer than minRecords 20",
        ),
        ({"dataset__concepts": {"synthesized": {"count": 0}}}, "spec.dataset.concepts.synthesized.count"),
        (
            {"dataset__concepts": {"uri": "x", "whenExhaustd": "Stop"}},
            "spec.dataset.concepts.whenExhaustd is unknown; did you mean whenExhausted?",
        ),
        (stages(), "spec.dataset.teacher.stages: list should have at least 1 item"),
        (stages({**FLASH, "modle": "x"}), "spec.dataset.teacher.stages[0].modle is unknown; did you mean model?"),
        (stages({**FLASH, "provider": "vertx"}), "spec.dataset.teacher.stages[0].provider: input should be 'vertex'"),
        (
            stages({**FLASH, "records": 5, "until": 9}),
            "spec.dataset.teacher.stages[0]: a stage has records or until, not both",
        ),
        (stages({**FLASH, "records": 0}), "spec.dataset.teacher.stages[0].records"),
        (
            stages({**IMPORT, "model": "gemini-2.5-pro"}),
            "spec.dataset.teacher.stages[0]: a stage with import asks no model: leave model out",
        ),
        (stages({**IMPORT, "thinkingBudget": 5}), "a stage with import asks no model: leave thinkingBudget out"),
        (
            stages({"import": {"url": "x"}}),
            "spec.dataset.teacher.stages[0].import.url is unknown; did you mean uri?",
        ),
        (stages({**FLASH, "minScore": "1.1"}), "spec.dataset.teacher.stages[0].minScore: 1.1 is not within 0 and 1"),
        (
            stages({**FLASH, "minScore": "0.7"}),
            "spec: dataset.teacher.stages[0].minScore 0.7 is below dataset.minScore 0.80, which would refuse records",
        ),
        (stages({**FLASH, "temperature": "2.5"}), "stages[0].temperature: 2.5 is not within 0 and 2"),
        (
            stages({**FLASH, "maxOutputTokens": 512, "thinkingBudget": 512}),
            "thinkingBudget 512 leaves no token of maxOutputTokens 512 for the answer",
        ),
        (stages({**FLASH, "maxOutputTokens": 1_000_000}), "spec.dataset.teacher.stages[0].maxOutputTokens"),
        (stages({**FLASH, "attempts": 0}), "spec.dataset.teacher.stages[0].attempts"),
        (stages({**FLASH, "emulator": {"seed": 1}}), "emulator is for provider emulator, not vertex: leave it out"),
        (
            stages({"provider": "emulator", "emulator": {"latencySeconds": "4000"}}),
            "spec.dataset.teacher.stages[0].emulator.latencySeconds: 4000 is not within 0 and 3600",
        ),
        (
            stages({"provider": "litellm", "model": "x", "project": "p"}),
            "spec.dataset.teacher.stages[0]: provider litellm has no project: leave it out",
        ),
        (
            stages({**FLASH, "endpoint": "localhost:99"}),
            "spec.dataset.teacher.stages[0].endpoint: 'localhost:99' is no URL; write http://HOST:PORT or https://HOST",
        ),
        (
            stages({"provider": "student", "model": "x", "endpoint": "http://h:1"}),
            "spec.dataset.teacher.stages[0].endpoint: a student is asked at HOST:PORT; name it, not 'http://h:1'",
        ),
        (
            stages({"provider": "gguf", "model": "m.gguf", "endpoint": "h:1"}),
            "spec.dataset.teacher.stages[0].endpoint: a gguf file is read on this machine; leave 'h:1' out",
        ),
        (
            stages(FLASH, {**FLASH, "minScore": "0.9"}),
            "spec.dataset.teacher: two stages are called 'gemini-2.5-flash': give one of them a name of its own",
        ),
        (
            stages({**FLASH, "records": 10}),
            "spec.dataset: the teacher's stages end at 10 records, fewer than minRecords",
        ),
        (
            {"dataset__teacher__prices": [{"model": "m", "inputPerMillionUsd": "x", "outputPerMillionUsd": "1"}]},
            "spec.dataset.teacher.prices[0].inputPerMillionUsd: 'x' is no decimal",
        ),
        (
            {"dataset__teacher__prices": [{"model": "m", "inputPerMillionUsd": "1", "outputPerMillionUsd": "1"}] * 2},
            "spec.dataset.teacher: prices names m twice",
        ),
        (
            {"dataset__balance": [{"label": "tier", "value": "simple", "maxRecords": 1}] * 2},
            "spec.dataset.balance: tier=simple is named twice",
        ),
        (
            {**stages(IMPORT), "evaluation__teacher": True},
            "spec: evaluation.teacher needs a stage of dataset.teacher that names a model",
        ),
    ],
)
def test_a_wrong_teacher_is_refused_with_its_path_and_the_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(**changes)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        (stages({**FLASH, "records": 45}, {**FLASH, "name": "more", "until": 300}), 300),
        (stages({**FLASH, "records": 45}, {**FLASH, "name": "more", "records": 300}), 345),
        (stages(IMPORT, FLASH), None),
        (stages({**IMPORT, "until": 50}, FLASH), 450),
    ],
)
def test_the_records_that_stages_end_at_are_known_before_anybody_is_asked(
    changes: dict[str, Any], most: int | None
) -> None:
    teacher = load(**changes).spec.dataset.teacher
    assert teacher is not None
    assert teacher.most_records == most
