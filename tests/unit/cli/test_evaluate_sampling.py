"""How `stillhouse evaluate` asks where nothing is said: as a Distillation's own evaluation does."""

from __future__ import annotations

from typing import Any

from planned_world import World, spec_of
from stillhouse.cli.subjects import STUDENT_SAMPLING, TEACHER_SAMPLING
from stillhouse.controller.requests import Inputs
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import EvaluateRequest
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest

STAGE: dict[str, Any] = {"provider": "vertex", "model": "gemini-2.5-flash", "project": "mine", "records": 50}


def test_a_teacher_is_asked_as_a_distillation_asks_it_and_not_with_the_seeds_of_its_records() -> None:
    dataset = {"concepts": {"uri": "concepts.jsonl"}, "teacher": {"stages": [STAGE]}}
    inputs = Inputs(imports=(), concepts=Artifact(name="concepts.jsonl", sha256="c" * 64), stage_imports=(None,))
    world = World(spec_of(dataset=dataset, evaluation={"teacher": True}), inputs)
    generated = world.plan().step("generate").request
    for name in ("generate", "dataset"):
        world.finish(name)
    request = world.plan().step("evaluate-teacher").request
    assert isinstance(request, EvaluateRequest)
    assert isinstance(generated, GenerateRecordsRequest)
    asked = (request.teacher.max_output_tokens, request.teacher.temperature, request.seed)
    assert asked == (TEACHER_SAMPLING.max_tokens, TEACHER_SAMPLING.temperature, TEACHER_SAMPLING.seed)
    assert request.seed - generated.seed > 100_000


def test_a_students_seed_is_that_of_a_distillation() -> None:
    assert STUDENT_SAMPLING.seed == spec_of().evaluation.seed
