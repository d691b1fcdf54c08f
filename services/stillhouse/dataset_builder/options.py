"""A BuildDataset request, checked against its role, as the values that the build works with.

Used by building only. It reads no rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from stillhouse.dataset.balance import BalanceLimit, checked_limits
from stillhouse.dataset.split import SplitFractions
from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import Metric, load_metric
from stillhouse.roles.requested import check_guards, check_version
from stillhouse.roles.role import Role
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest


@dataclass(frozen=True)
class BuildOptions:
    """What decides which rows stay and where they go. Scores and fractions are in [0, 1]."""

    guards: tuple[str, ...]
    min_score: float
    fractions: SplitFractions
    seed: int
    min_records: int
    min_mean_score: float
    balance: tuple[BalanceLimit, ...]
    metric: Metric


def options_of(request: BuildDatasetRequest, role: Role) -> BuildOptions:
    """The options of a request.

    Raises FailedPrecondition where the request is for another version of the role, InvalidArgument that names the field
    where a value is out of range or a guard, a metric or an import is not there.
    """
    check_version(role, request.role)
    if not request.imports:
        raise InvalidArgument("the data set has no import; name recorded answers", field="imports")
    check_guards(role, request.guards)
    for field in ("min_score", "min_mean_score"):
        value = getattr(request, field)
        if not 0 <= value <= 1:
            raise InvalidArgument(f"{field} {value:g} is not within 0 and 1", field=field)
    if request.min_records < 0:
        raise InvalidArgument(f"min_records {request.min_records} is negative", field="min_records")
    validation = 0.0 if request.HasField("validation") else request.validation_fraction
    return BuildOptions(
        guards=tuple(request.guards),
        min_score=request.min_score,
        fractions=SplitFractions(request.train_fraction, validation),
        seed=request.seed,
        min_records=request.min_records,
        min_mean_score=request.min_mean_score,
        balance=checked_limits(
            BalanceLimit(target.label, target.value, target.max_records) for target in request.balance
        ),
        metric=load_metric(request.metric) if request.metric else role.score,
    )
