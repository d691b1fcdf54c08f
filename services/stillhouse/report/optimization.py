"""An optimisation as a value: what the prompt was worth before and after, what was tried, what the program says.

Called by `reading` and by the summary of a run. It knows the optimizer's metadata.json, not the optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument
from stillhouse.programs.document import read_program
from stillhouse.v1.optimizer_pb2 import OptimizeResult

_NAMES = {"mipro_v2": "MIPROv2", "bootstrap_few_shot": "BootstrapFewShot", "gepa": "GEPA"}


@dataclass(frozen=True)
class Trial:
    """One evaluation; candidates are numbered as they first occurred, 0 is the role's own prompt."""

    candidate: int
    rows: int
    is_whole: bool
    """All validation rows, not a part of them."""
    score: float


@dataclass(frozen=True)
class Prompt:
    """What a predictor of the program says."""

    predictor: str
    instructions: str
    demos: int


@dataclass(frozen=True)
class Optimization:
    """The whole search; scores are means over `rows` validation rows, in [0, 1]."""

    optimizer: str
    baseline: float
    score: float
    rows: int
    calls: int
    cost_usd: float
    ended_by: str
    """The limit that ended it; empty where none did."""
    trials: tuple[Trial, ...]
    prompts: tuple[Prompt, ...]

    @property
    def candidates(self) -> int:
        """How many were tried, beside the role's own prompt."""
        return max((trial.candidate for trial in self.trials), default=0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Trial(_Part):
    kind: str
    rows: int
    score: float
    candidate: Mapping[str, Any]


class _Metadata(_Part):
    optimizer: str
    valset_size: int
    trials: tuple[_Trial, ...]


def read_optimization(store: Store, result: OptimizeResult) -> Optimization:
    """Raises NotFound or DataLoss where the store has lost it, InvalidArgument where it is of another kind."""
    try:
        metadata = _Metadata.model_validate_json(store.read_bytes(result.metadata))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidArgument(f"{result.metadata.name} is no optimizer's: {place}: {first['msg']}") from exc
    program = read_program(store.read_bytes(result.program), source=result.program.name)
    known: list[Mapping[str, Any]] = []
    return Optimization(
        optimizer=_NAMES.get(metadata.optimizer, metadata.optimizer),
        baseline=result.baseline_score,
        score=result.score,
        rows=metadata.valset_size,
        calls=result.calls,
        cost_usd=result.cost_usd,
        ended_by=result.ended_by,
        trials=tuple(
            Trial(_numbered(known, one.candidate), one.rows, one.kind == "full", one.score) for one in metadata.trials
        ),
        prompts=tuple(
            Prompt(name, predictor.instructions, len(predictor.demos)) for name, predictor in program.predictors.items()
        ),
    )


def _numbered(known: list[Mapping[str, Any]], candidate: Mapping[str, Any]) -> int:
    if candidate not in known:
        known.append(candidate)
    return known.index(candidate)
