"""The optimize request of a spec, for a student or for a teacher. Pure; called by the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stillhouse.controller import requests
from stillhouse.controller import teacher_requests as teacher
from stillhouse.controller.requests import Inputs
from stillhouse.controller.teacher_requests import budget_left
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.optimization import Optimization
from stillhouse.spec.sources import Import
from stillhouse.spec.values import number
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import CONSTRAINT_KIND_NONE, EvaluateResult
from stillhouse.v1.optimizer_pb2 import (
    PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT,
    PROMPT_OPTIMIZER_GEPA,
    PROMPT_OPTIMIZER_MIPRO_V2,
    OptimizeRequest,
    OptimizerOptions,
    PromptOptimizer,
)
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult

_OPTIMIZERS: dict[str, PromptOptimizer.ValueType] = {
    "MIPROv2": PROMPT_OPTIMIZER_MIPRO_V2,
    "BootstrapFewShot": PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT,
    "GEPA": PROMPT_OPTIMIZER_GEPA,
}
_NUMBERS = ("num_candidates", "num_trials", "minibatch", "minibatch_size", "minibatch_full_eval_steps")
_DEMOS = ("max_bootstrapped_demos", "max_labeled_demos")
_DECIMALS = ("metric_threshold", "init_temperature")


def asks_paid_models(wanted: Optimization) -> bool:
    """Whether others than the student propose or write demos."""
    return wanted.prompt_model is not None or wanted.demo_model is not None


def for_student(
    spec: DistillationSpec,
    wanted: Optimization,
    inputs: Inputs,
    dataset: BuildDatasetResult,
    model: Artifact,
    paid: Sequence[GenerateRecordsResult | EvaluateResult],
) -> OptimizeRequest:
    """The prompt of the exported student, under the constraint that the gates hold for.

    Rows that the spec does not name are the data set's: training rows make demos, tuning rows score candidates.
    A paid model gets what is left of the budget by what was `paid` before.
    """
    request = _request(spec, wanted)
    if asks_paid_models(wanted):
        _limit_cost(request, budget_left(spec, *(result.cost_usd for result in paid)))
    request.model.CopyFrom(model)
    request.constraint = requests.CONSTRAINTS[spec.evaluation.constraints[0]]
    request.max_tokens = spec.evaluation.max_tokens
    request.temperature = number(spec.evaluation.temperature)
    request.train.CopyFrom(inputs.optimization_train or dataset.train)
    request.validation.CopyFrom(inputs.optimization_validation or dataset.tuning)
    request.held_out.CopyFrom(dataset.validation)
    request.train_source = _source(wanted.train, "the data set's training rows")
    request.validation_source = _source(wanted.validation, "the data set's tuning rows")
    return request


def for_teacher(spec: DistillationSpec, wanted: Optimization, inputs: Inputs) -> OptimizeRequest:
    """The prompt of the teacher's first model, asked with its stage's temperature and tokens, within the budget."""
    stage = teacher.first_asked(spec)
    request = _request(spec, wanted)
    _limit_cost(request, budget_left(spec))
    request.teacher.CopyFrom(teacher.teacher_model(stage))
    request.constraint = CONSTRAINT_KIND_NONE
    request.max_tokens = stage.max_output_tokens
    request.temperature = number(stage.temperature)
    request.train.CopyFrom(inputs.optimization_train or Artifact())
    request.validation.CopyFrom(inputs.optimization_validation or Artifact())
    if inputs.validation is not None:
        request.held_out.CopyFrom(inputs.validation)
    request.train_source = _source(wanted.train, "")
    request.validation_source = _source(wanted.validation, "")
    return request


def _limit_cost(request: OptimizeRequest, left: float | None) -> None:
    if left is not None:
        request.max_cost_usd = min(request.max_cost_usd, left) if request.HasField("max_cost_usd") else left


def _request(spec: DistillationSpec, wanted: Optimization) -> OptimizeRequest:
    """What holds for either target."""
    caps: dict[str, Any] = {
        "max_calls": wanted.max_calls,
        "max_total_tokens": wanted.max_total_tokens,
        "max_cost_usd": None if wanted.max_cost_usd is None else number(wanted.max_cost_usd),
        "max_seconds": wanted.max_seconds,
    }
    return OptimizeRequest(
        role=teacher.role_reference(spec),
        optimizer=_OPTIMIZERS[wanted.optimizer],
        options=_options(wanted),
        min_baseline_valid=number(wanted.min_baseline_valid),
        prompt_model=None if wanted.prompt_model is None else teacher.teacher_model(wanted.prompt_model),
        demo_model=None if wanted.demo_model is None else teacher.teacher_model(wanted.demo_model),
        metric=spec.dataset.metric or "",
        prices=teacher.prices(spec),
        **_given(caps, tuple(caps)),
    )


def _options(wanted: Optimization) -> OptimizerOptions:
    values = wanted.model_dump()
    decimals = {name: None if values[name] is None else number(values[name]) for name in _DECIMALS}
    given = _given({**values, **decimals}, (*_NUMBERS, *_DEMOS, *_DECIMALS))
    return OptimizerOptions(auto=wanted.auto or "", seed=wanted.seed, **given)


def _given(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if values[name] is not None}


def _source(named: Import | None, default: str) -> str:
    return default if named is None else named.uri or "synthesized records"
