"""A GenerateRecords request, checked against its role, as the values that the generation works with.

Used by the stage and the command line. It reads no rows and asks no model.
"""

from __future__ import annotations

from dataclasses import dataclass

from stillhouse.artifacts.store import Store
from stillhouse.dataset.balance import BalanceLimit, checked_limits
from stillhouse.errors import InvalidArgument
from stillhouse.programs.kept import kept_guidance
from stillhouse.roles.metric_reference import Metric, load_metric
from stillhouse.roles.requested import check_guards, check_version
from stillhouse.roles.role import Role
from stillhouse.teachers.dialogue import Manner, manner_of
from stillhouse.v1.dataset_builder_pb2 import DatasetImport
from stillhouse.v1.teacher_generator_pb2 import (
    WHEN_EXHAUSTED_SECOND_ANSWER,
    GenerateRecordsRequest,
    TeacherStage,
)
from stillhouse.v1.teacher_pb2 import TeacherModel


@dataclass(frozen=True)
class StageOptions:
    """One stage. Either `model` is asked in a `manner`, or `imported` rows are taken."""

    name: str
    min_score: float
    """In [0, 1]."""
    records: int
    """Records of its own at which it ends; 0: no such bound."""
    until: int
    """Records of the whole data set at which it ends; 0: no such bound."""
    model: TeacherModel | None = None
    manner: Manner | None = None
    imported: DatasetImport | None = None

    def has_reached(self, own: int, all_records: int) -> bool:
        """True at the stage's target."""
        return bool((self.records and own >= self.records) or (self.until and all_records >= self.until))

    def remaining(self, own: int, all_records: int) -> int | None:
        """Records that are still wanted; None where the stage has no target."""
        bounds = [self.records - own] if self.records else []
        bounds += [self.until - all_records] if self.until else []
        return min(bounds) if bounds else None


@dataclass(frozen=True)
class GenerationOptions:
    """What decides which records there are."""

    stages: tuple[StageOptions, ...]
    guards: tuple[str, ...]
    metric: Metric | None
    balance: tuple[BalanceLimit, ...]
    second_answers: bool
    """When the concepts are used up, each is asked about once more."""
    seed: int


def options_of(request: GenerateRecordsRequest, role: Role, store: Store | None = None) -> GenerationOptions:
    """The options of a request; `store` holds the optimised programs that it names, without one they stay out.

    Raises FailedPrecondition where it is for another version of the role, InvalidArgument that names the field where a
    value is out of range or a guard or a metric is not there.
    """
    check_version(role, request.role)
    if not request.stages:
        raise InvalidArgument("the teacher has no stage; name a model to ask", field="stages")
    check_guards(role, request.guards)
    stages = tuple(_stage(stage, index, role, store) for index, stage in enumerate(request.stages))
    return GenerationOptions(
        stages=stages,
        guards=tuple(request.guards),
        metric=load_metric(request.metric) if request.metric else None,
        balance=checked_limits(
            BalanceLimit(target.label, target.value, target.max_records) for target in request.balance
        ),
        second_answers=request.when_exhausted == WHEN_EXHAUSTED_SECOND_ANSWER,
        seed=request.seed,
    )


def _stage(stage: TeacherStage, index: int, role: Role, store: Store | None) -> StageOptions:
    place = f"stages[{index}]"
    if not 0 <= stage.min_score <= 1:
        raise InvalidArgument(f"min_score {stage.min_score:g} is not within 0 and 1", field=f"{place}.min_score")
    if stage.records < 0 or stage.until < 0:
        raise InvalidArgument("records and until are not below 0", field=f"{place}.records")
    source = stage.WhichOneof("source")
    if source is None:
        raise InvalidArgument("a stage names a teacher or an import", field=place)
    if source == "import":
        imported: DatasetImport = getattr(stage, "import")
        return StageOptions(stage.name or "import", stage.min_score, stage.records, stage.until, imported=imported)
    guidance = None
    if stage.teacher.HasField("program") and store is not None:
        guidance = kept_guidance(store, stage.teacher.program, role)
    manner = manner_of(stage.teacher, attempts=stage.attempts, place=place, guidance=guidance)
    name = stage.name or stage.teacher.model or stage.teacher.provider
    return StageOptions(name, stage.min_score, stage.records, stage.until, stage.teacher, manner)
