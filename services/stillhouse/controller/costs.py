"""What of a Distillation is paid for: whether its limits can be kept, and which steps ask paid models. Pure.

Called by `requests` before anything runs, and by who says beforehand what a run may cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.controller import teacher_requests as teacher
from stillhouse.errors import InvalidArgument
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.teacher import TeacherModel as ModelSpec
from stillhouse.teachers.prices import FREE, Price, price_of


def check(spec: DistillationSpec) -> None:
    """Raises InvalidArgument, naming the path, for a model without a known price under a limit in US dollars."""
    for place, model in teacher.models_of(spec):
        limits = _limits_of(model, spec)
        if limits and _price(model, spec) is None:
            where = f"spec.{place}.model"
            named = " and ".join(limits)
            raise InvalidArgument(
                f"{where}: the price of {model.model} is not known, so that {named} can't be kept; "
                f"{_remedy(spec, named)}",
                field=where,
            )


def paid_steps(spec: DistillationSpec) -> tuple[str, ...]:
    """Names of the steps that ask a model that is paid, or may be: its price is not known."""
    asked = [stage for stage in spec.teacher_stages if stage.import_ is None]
    by_step: dict[str, Sequence[ModelSpec]] = {
        "optimize": _of_optimization(spec),
        "generate": asked,
        "evaluate-teacher": asked[:1] if spec.evaluation.teacher else [],
    }
    return tuple(name for name, models in by_step.items() if any(_price(model, spec) != FREE for model in models))


def _of_optimization(spec: DistillationSpec) -> list[ModelSpec]:
    """The models that the search for a prompt asks, beside a student."""
    wanted = spec.optimization
    if wanted is None:
        return []
    named = [model for model in (wanted.prompt_model, wanted.demo_model) if model is not None]
    return [teacher.first_asked(spec), *named] if spec.optimizes_teacher else named


def _limits_of(model: ModelSpec, spec: DistillationSpec) -> list[str]:
    wanted = spec.optimization
    limits = [] if spec.budget.max_cost_usd is None else ["budget.maxCostUsd"]
    searches = any(model is one for one in _of_optimization(spec))
    if searches and wanted is not None and wanted.max_cost_usd is not None:
        limits.append("optimization.maxCostUsd")
    return limits


def _remedy(spec: DistillationSpec, limits: str) -> str:
    if spec.dataset.teacher is not None:
        return "name it in dataset.teacher.prices"
    return (
        f"take {limits} out and set optimization.maxCalls or maxTotalTokens instead, or name a model whose price is "
        "known"
    )


def _price(model: ModelSpec, spec: DistillationSpec) -> Price | None:
    return price_of(teacher.teacher_model(model), teacher.prices(spec))
