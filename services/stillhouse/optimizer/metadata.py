"""metadata.json: everything that says where a program comes from. Pure; called by the stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import dspy

from stillhouse.dataset.paired import paired_difference
from stillhouse.optimizer.evaluations import Evaluation
from stillhouse.optimizer.optimization import Optimized
from stillhouse.optimizer.options import Options, idle_options, parameters_of
from stillhouse.optimizer.search import Found
from stillhouse.programs.values import as_json
from stillhouse.roles.role import Role
from stillhouse.v1.optimizer_pb2 import OptimizeRequest
from stillhouse.v1.teacher_pb2 import TeacherModel

_LIMITS = ("max_calls", "max_total_tokens", "max_cost_usd", "max_seconds")
_OTHERS = ("prompt_model", "demo_model")
_LIBRARIES = ("dspy", "optuna", "gepa", "stillhouse")


@dataclass(frozen=True)
class DataSet:
    """Rows of a run: what their user calls them, their digest, and how many were read of them."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Names:
    """Models by what they do, as the answer log knows them: `teacher/PROVIDER:MODEL`, or a student's digest with its
    constraint.
    """

    task: str
    prompt: str
    demo: str


def versions() -> dict[str, str]:
    """Of the libraries that decide what an optimizer asks."""
    return {name: version(name) for name in _LIBRARIES}


def metadata_document(
    request: OptimizeRequest,
    role: Role,
    options: Options,
    optimized: Optimized,
    *,
    names: Names,
    metric_version: int | str,
    train: DataSet,
    validation: DataSet,
    held_out: DataSet | None,
    seconds: float,
) -> dict[str, Any]:
    """`metric_version` is the role's version, or the digest of a metric of the user's own.

    Scores and rates are in [0, 1]; `difference` is the score less the baseline's, row by row on the rows that chose
    it, with its 95 % interval, `held_out` the same on rows that chose nothing, if they were asked; `candidates` has
    the texts that the trials' numbers stand for, `idle` the options that were given and that the optimizer has no
    use for.
    """
    found = optimized.found
    candidates = _Candidates()
    trials = [
        {
            "number": number,
            "kind": "full" if each.full else "minibatch",
            "rows": each.rows,
            "score": each.score,
            "valid_rate": each.valid_rate,
            "failures": dict(sorted(each.failures.items())),
            "candidate": candidates.numbered(each.program),
        }
        for number, each in enumerate(found.evaluations)
    ]
    return {
        "role": role.name,
        "role_version": role.version,
        "optimizer": options.optimizer.value,
        "parameters": {
            **parameters_of(options),
            "min_baseline_valid": request.min_baseline_valid,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            **{name: getattr(request, name) for name in _LIMITS if request.HasField(name)},  # type: ignore[arg-type]
            **{name: _sampling(getattr(request, name)) for name in _OTHERS if request.HasField(name)},  # type: ignore[arg-type]
        },
        **({"idle": idle} if (idle := idle_options(request)) else {}),
        "seed": options.seed,
        "metric": {"name": request.metric or role.name, "version": metric_version},
        "models": asdict(names),
        "trainset": {"path": train.path, "sha256": train.sha256},
        "trainset_size": train.size,
        "valset": {"path": validation.path, "sha256": validation.sha256},
        "valset_size": options.validation_rows,
        "baseline": _scored(found.baseline),
        "score": _scored(found.best) | {"candidate": candidates.numbered(found.best.program)},
        "difference": _difference(found.best, found.baseline),
        **_judged(found, held_out),
        "ended_by": found.ended_by or None,
        "trials": trials,
        "candidates": candidates.document(),
        "usage": {**asdict(optimized.usage), "seconds": seconds},
        "libraries": versions(),
    }


def _sampling(model: TeacherModel) -> dict[str, Any]:
    """Of a model beside the one that is optimised for; `models` has its name."""
    return {"max_tokens": model.max_output_tokens, "temperature": model.temperature}


def _scored(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "score": evaluation.score,
        "valid_rate": evaluation.valid_rate,
        "failures": dict(sorted(evaluation.failures.items())),
    }


def _judged(found: Found, rows: DataSet | None) -> dict[str, Any]:
    if rows is None:
        return {}
    told = {"path": rows.path, "sha256": rows.sha256, "size": rows.size}
    if found.held_out is None:
        return {"held_out": told}
    baseline, best = found.held_out
    figures = {"baseline": _scored(baseline), "score": _scored(best), "difference": _difference(best, baseline)}
    return {"held_out": {**told, **figures}}


def _difference(evaluation: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    return asdict(paired_difference(_by_row(evaluation), _by_row(baseline)))


def _by_row(evaluation: Evaluation) -> dict[str, float]:
    return {f"{number:09}": score for number, score in enumerate(evaluation.scores)}


class _Candidates:
    """Instructions and demo sets of each predictor, numbered as they first occurred."""

    def __init__(self) -> None:
        self._instructions: dict[str, list[str]] = {}
        self._demos: dict[str, list[list[dict[str, Any]]]] = {}

    def numbered(self, program: dspy.Module) -> dict[str, dict[str, int]]:
        """What the program has, by predictor."""
        return {
            name: {
                "instructions": _place(self._instructions.setdefault(name, []), predictor.signature.instructions),
                "demos": _place(self._demos.setdefault(name, []), [_plain(demo) for demo in predictor.demos]),
            }
            for name, predictor in program.named_predictors()
        }

    def document(self) -> dict[str, Any]:
        """By predictor, in the order of the numbers."""
        return {name: {"instructions": texts, "demos": self._demos[name]} for name, texts in self._instructions.items()}


def _place(known: list[Any], value: Any) -> int:
    if value not in known:
        known.append(value)
    return known.index(value)


def _plain(demo: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _shown(demo[name]) for name in demo}


def _shown(value: Any) -> Any:
    try:
        return as_json(value)
    except ValueError:
        return str(value)
