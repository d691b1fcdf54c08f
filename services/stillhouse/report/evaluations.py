"""An EVAL.json as a value, checked when it is read; and whether several can be compared at all. Pure.

Called by the report's `reading` and by `stillhouse compare`. It knows the evaluator's document, not the evaluator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stillhouse.errors import InvalidArgument

TIERS = ("simple", "medium", "corporate")
"""The order in which tiers are shown; others follow by name."""
_GRAMMARS = {"role_grammar": "role grammar", "none": "no grammar"}
_Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class RoleVersion(_Part):
    """Which role asked and judged."""

    name: str
    version: int


class Statistics(_Part):
    """Of scores; `std` is the population's."""

    count: int
    mean: float
    median: float
    min: float
    max: float
    std: float


class Detected(_Part):
    """What was found of what was planted; a rate without a denominator is None."""

    found: int
    missed: int
    invented: int
    precision: float | None
    recall: float | None
    f1: float | None


class MeasuredRow(_Part):
    """One row's figures."""

    id: str
    tier: str | None = None
    score: float
    valid: bool
    guards: tuple[Mapping[str, Any], ...] = ()
    seconds: float
    failure: Mapping[str, Any] | None = None

    @property
    def points(self) -> float:
        """The score; 0 where there is no answer."""
        return 0.0 if self.failure else self.score

    @property
    def passes_guards(self) -> bool:
        """Answered, and no guard fired."""
        return not self.failure and not self.guards


class Evaluation(_Part):
    """What `stillhouse evaluate` or a run's evaluation wrote. `cost_usd` is None for a student: nobody was paid."""

    role: RoleVersion
    validation_sha256: str
    metric: str
    constraint: str
    model_sha256: str
    teacher: str | None = None
    concurrency: int = 1
    """Questions in flight at a time, which its seconds depend on."""
    program: str | None = None
    """Digest of the optimised program that asked; None for the role's own prompt."""
    scores: Statistics
    valid_rate: _Share
    guard_rate: _Share
    median_seconds: float
    cost_usd: float | None = None
    failed_rows: Mapping[str, int]
    by_tier: Mapping[str, Statistics]
    findings: Mapping[str, Detected] = {}
    findings_by_tier: Mapping[str, Mapping[str, Detected]] = {}
    rows: tuple[MeasuredRow, ...]

    @model_validator(mode="before")
    @classmethod
    def _divide_findings(cls, values: Any) -> Any:
        """The document keeps the tiers' findings among the kinds."""
        if not isinstance(values, dict) or not isinstance(values.get("findings"), dict):
            return values
        kinds = dict(values["findings"])
        return {**values, "findings_by_tier": kinds.pop("by_tier", {}), "findings": kinds}

    @model_validator(mode="after")
    def _check_rows(self) -> Evaluation:
        if len({row.id for row in self.rows}) != len(self.rows):
            raise ValueError("a row occurs twice")
        if not self.rows or len(self.rows) != self.scores.count:
            raise ValueError(f"it has {len(self.rows)} rows and figures of {self.scores.count}")
        return self

    @property
    def cost_usd_per_row(self) -> float | None:
        """Dollars an answer; None for a student."""
        return None if self.cost_usd is None else self.cost_usd / len(self.rows)

    @property
    def failed(self) -> int:
        """Rows without an answer."""
        return sum(row.failure is not None for row in self.rows)

    @property
    def asked(self) -> str:
        """Who was asked and how, in words: `model 1a2b3c4d5e6f, role grammar`."""
        model = f"model {self.model_sha256[:12]}" if self.model_sha256 else "a model that its server did not name"
        said = [f"teacher {self.teacher}" if self.teacher else model]
        if not self.teacher:
            said.append(_GRAMMARS.get(self.constraint, self.constraint))
        if self.program:
            said.append(f"program {self.program[:12]}")
        if self.concurrency > 1:
            said.append(f"{self.concurrency} rows at a time")
        return ", ".join(said)


def read_evaluation(data: bytes, *, source: str) -> Evaluation:
    """Raises InvalidArgument that names `source` and what is wrong where `data` is no evaluation."""
    try:
        return Evaluation.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = f"{place}: {first['msg']}" if place else first["msg"]
        raise InvalidArgument(f"{source} is no EVAL.json of stillhouse evaluate: {said}") from exc


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """By name or file. Raises InvalidArgument, naming the first and the one that was asked other rows or judged
    otherwise.
    """
    (first, baseline), *others = evaluations.items()
    for name, evaluation in others:
        for thing, ours, theirs in (
            ("roles", _role(baseline), _role(evaluation)),
            ("validation rows", _digest(baseline), _digest(evaluation)),
            ("metrics", baseline.metric or "the role's", evaluation.metric or "the role's"),
        ):
            if ours != theirs:
                raise InvalidArgument(
                    f"{first} and {name} can't be compared: their {thing} differ, {ours} and {theirs}; "
                    "evaluate both alike"
                )
        if differ := {(row.id, row.tier) for row in baseline.rows} ^ {(row.id, row.tier) for row in evaluation.rows}:
            row = min(row for row, _ in differ)
            raise InvalidArgument(
                f"{first} and {name} can't be compared: row {row} is not the same in both; evaluate both again"
            )


def in_order(tiers: Iterable[str]) -> list[str]:
    """The names of tiers as they are shown."""
    ranks = {tier: rank for rank, tier in enumerate(TIERS)}
    return sorted(tiers, key=lambda tier: (ranks.get(tier, len(ranks)), tier))


def _role(evaluation: Evaluation) -> str:
    return f"{evaluation.role.name} {evaluation.role.version}"


def _digest(evaluation: Evaluation) -> str:
    return evaluation.validation_sha256[:12]
