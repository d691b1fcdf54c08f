"""The options of an optimiser, DSPy's defaults and `auto` resolved to numbers, and what can't work refused. Pure.

Called by the stage; knows no DSPy. `auto` and the default number of trials are as in dspy 3.4.1's MIPROv2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum

from stillhouse.errors import InvalidArgument
from stillhouse.v1.optimizer_pb2 import (
    PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT,
    PROMPT_OPTIMIZER_GEPA,
    PROMPT_OPTIMIZER_MIPRO_V2,
    OptimizeRequest,
)

AUTO = {"light": (6, 100), "medium": (12, 300), "heavy": (18, 1000)}
"""Candidates, and validation rows at most."""
_DEMOS = 4
_MINIBATCH_SIZE = 35
_MINIBATCH_FROM = 50
_FULL_EVALUATION_STEPS = 5
_INIT_TEMPERATURE = 1.0


class Optimizer(StrEnum):
    """Which optimiser of DSPy's."""

    MIPRO_V2 = "mipro_v2"
    BOOTSTRAP_FEW_SHOT = "bootstrap_few_shot"
    GEPA = "gepa"


OPTIMIZERS = {
    PROMPT_OPTIMIZER_MIPRO_V2: Optimizer.MIPRO_V2,
    PROMPT_OPTIMIZER_BOOTSTRAP_FEW_SHOT: Optimizer.BOOTSTRAP_FEW_SHOT,
    PROMPT_OPTIMIZER_GEPA: Optimizer.GEPA,
}


_MINIBATCH = ("minibatch", "minibatch_size", "minibatch_full_eval_steps")
IDLE: dict[Optimizer, tuple[str, ...]] = {
    Optimizer.MIPRO_V2: (),
    Optimizer.BOOTSTRAP_FEW_SHOT: (
        *("prompt_model", "instruction_candidates", "num_trials", "trials", "init_temperature"),
        *_MINIBATCH,
    ),
    Optimizer.GEPA: (
        *("demo_model", "instruction_candidates", "demo_candidates", "max_bootstrapped_demos", "max_labeled_demos"),
        *("metric_threshold", *_MINIBATCH),
    ),
}
"""What an optimiser has no use for, by the names of the request and of Options."""


@dataclass(frozen=True)
class Options:
    """What an optimiser is told, all of it; it makes no use of some, as IDLE says."""

    optimizer: Optimizer
    instruction_candidates: int
    demo_candidates: int
    trials: int
    validation_rows: int
    """Of the validation rows, the first so many; every score is over them."""
    minibatch: bool
    minibatch_size: int
    minibatch_full_eval_steps: int
    max_bootstrapped_demos: int
    max_labeled_demos: int
    seed: int
    metric_threshold: float | None
    init_temperature: float


def options_of(request: OptimizeRequest, *, validation_rows: int, answered: bool) -> Options:
    """The request's options; `answered`: the training rows hold answers, which can be demos as they are.

    Raises InvalidArgument that names the option.
    """
    if request.optimizer not in OPTIMIZERS:
        raise InvalidArgument(f"the optimizer is one of {', '.join(Optimizer)}", field="optimizer")
    given = request.options
    optimizer = OPTIMIZERS[request.optimizer]
    bootstrapped = given.max_bootstrapped_demos if given.HasField("max_bootstrapped_demos") else _DEMOS
    labeled = given.max_labeled_demos if given.HasField("max_labeled_demos") else bootstrapped
    labeled = labeled if answered else 0
    by_auto = not (given.HasField("num_candidates") or given.HasField("num_trials"))
    candidates, rows = _candidates(request, validation_rows, by_auto=by_auto)
    _check_range("num_candidates", candidates, 1, 100)
    _check_range("max_bootstrapped_demos", bootstrapped, int(optimizer is Optimizer.BOOTSTRAP_FEW_SHOT), 32)
    _check_range("max_labeled_demos", labeled, 0, 32)
    if not bootstrapped and labeled and candidates > 3:
        raise InvalidArgument(
            "max_labeled_demos without max_bootstrapped_demos gives at most 3 candidates: allow a bootstrapped demo",
            field="options.max_bootstrapped_demos",
        )
    zero_shot = not bootstrapped and not labeled
    trials = given.num_trials if given.HasField("num_trials") else _usual_trials(candidates, zero_shot=zero_shot)
    _check_range("num_trials", trials, 1, 1000)
    size = given.minibatch_size if given.HasField("minibatch_size") else _MINIBATCH_SIZE
    minibatch = optimizer is Optimizer.MIPRO_V2 and _minibatch(request, rows, size, by_auto=by_auto)
    steps = given.minibatch_full_eval_steps if given.HasField("minibatch_full_eval_steps") else _FULL_EVALUATION_STEPS
    _check_range("minibatch_size", size, 1, 100_000)
    _check_range("minibatch_full_eval_steps", steps, 1, 1000)
    threshold = given.metric_threshold if given.HasField("metric_threshold") else None
    _check_fraction("metric_threshold", threshold)
    _check_range("seed", given.seed, 0, 2**32 - 1)
    heat = given.init_temperature if given.HasField("init_temperature") else _INIT_TEMPERATURE
    if not 0 <= heat <= 2:
        raise InvalidArgument(f"init_temperature {heat:g} is not within 0 and 2", field="options.init_temperature")
    return Options(
        optimizer=optimizer,
        # As MIPROv2's auto does it: demos are worth more of the search than instructions.
        instruction_candidates=candidates // 2 if by_auto and not zero_shot else candidates,
        demo_candidates=candidates,
        trials=trials,
        validation_rows=rows,
        minibatch=minibatch,
        minibatch_size=size,
        minibatch_full_eval_steps=steps,
        max_bootstrapped_demos=bootstrapped,
        max_labeled_demos=labeled,
        seed=given.seed,
        metric_threshold=threshold,
        init_temperature=heat,
    )


def idle_options(request: OptimizeRequest) -> list[str]:
    """Those that were given and that the optimiser has no use for."""
    given = {field.name for message in (request, request.options) for field, _ in message.ListFields()}
    return [name for name in IDLE[OPTIMIZERS[request.optimizer]] if name in given]


def parameters_of(options: Options) -> dict[str, object]:
    """By name, those that the optimiser makes use of."""
    idle = ("optimizer", *IDLE[options.optimizer])
    return {name: value for name, value in asdict(options).items() if name not in idle}


def _candidates(request: OptimizeRequest, validation_rows: int, *, by_auto: bool) -> tuple[int, int]:
    given = request.options
    if given.auto and not by_auto:
        raise InvalidArgument(
            f"auto={given.auto} decides num_candidates and num_trials: name it or them", field="options.auto"
        )
    if not by_auto:
        if not given.HasField("num_candidates"):
            raise InvalidArgument("num_trials needs num_candidates", field="options.num_candidates")
        return given.num_candidates, validation_rows
    auto = given.auto or "light"
    if auto not in AUTO:
        raise InvalidArgument(f"auto={auto!r} is none of {', '.join(AUTO)}", field="options.auto")
    candidates, rows = AUTO[auto]
    return candidates, min(rows, validation_rows)


def _usual_trials(candidates: int, *, zero_shot: bool) -> int:
    variables = 1 if zero_shot else 2
    return max(1, int(max(2 * variables * math.log2(candidates), 1.5 * candidates)))


def _minibatch(request: OptimizeRequest, rows: int, size: int, *, by_auto: bool) -> bool:
    given = request.options
    if not given.HasField("minibatch"):
        return rows > max(size, _MINIBATCH_FROM if by_auto else 0)
    if given.minibatch and size > rows:
        raise InvalidArgument(
            f"minibatch_size {size} is more than the {rows} validation rows; say less, or leave minibatch out",
            field="options.minibatch_size",
        )
    return given.minibatch


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"{name} {value} is not within {least} and {most}", field=f"options.{name}")


def _check_fraction(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise InvalidArgument(f"{name} {value:g} is not within 0 and 1", field=f"options.{name}")
