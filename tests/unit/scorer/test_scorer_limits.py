"""What the scorer takes and refuses before it scores, and its settings."""

from __future__ import annotations

import pytest

from stillhouse.dataset_builder.config import DatasetBuilderConfig
from stillhouse.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from stillhouse.scorer.config import MAX_TEXT_VARIABLE, ScorerConfig
from stillhouse.scorer.scoring import ScoringJob, ScoringLimits, score

LIMITS = ScoringLimits(max_text_characters=1000, allow_custom_metric=False)
INPUTS = {"concept": "A shop", "requirements_yaml": "title: a"}


def job(role: str = "product_owner", **fields: object) -> ScoringJob:
    return ScoringJob(**{"role": role, "inputs": INPUTS, "outputs": {}, "response": "", **fields})


def test_a_record_without_an_answer_scores_as_empty() -> None:
    verdict = score(job(), LIMITS)
    assert not verdict.valid
    assert verdict.problems


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        (job(role="no_such"), InvalidArgument, "role"),
        (job(inputs={"concept": "A shop"}), InvalidArgument, "record.inputs.requirements_yaml"),
        (job(inputs={**INPUTS, "other": "x"}), InvalidArgument, "record.inputs"),
        (job(outputs={"other": "x"}), InvalidArgument, "record.outputs"),
        (job(response="x" * 1001), ResourceExhausted, "response"),
        (job(outputs={"product_vision": "x" * 1001}), ResourceExhausted, "product_vision"),
        (job(metric="os:getcwd"), PermissionDenied, "metric"),
    ],
)
def test_what_can_not_be_scored_is_refused_and_its_field_named(asked, error, field) -> None:
    with pytest.raises(error) as caught:
        score(asked, LIMITS)
    assert caught.value.field == field


def test_an_own_metric_runs_where_the_server_allows_it() -> None:
    with pytest.raises(InvalidArgument, match=r"'os:getcwd' failed"):
        score(job(metric="os:getcwd"), ScoringLimits(1000, allow_custom_metric=True))


def test_settings_come_from_the_environment_and_wrong_ones_are_named() -> None:
    assert ScorerConfig.from_env({MAX_TEXT_VARIABLE: ""}) == ScorerConfig.from_env({})
    assert not ScorerConfig.from_env({}).limits.allow_custom_metric
    given = ScorerConfig.from_env(
        {"STILLHOUSE_ALLOW_CUSTOM_METRIC": "1", "STILLHOUSE_SCORER_MAX_TEXT_CHARACTERS": "10"}
    )
    assert given.limits == ScoringLimits(10, allow_custom_metric=True)
    assert DatasetBuilderConfig.from_env({"STILLHOUSE_ALLOW_CUSTOM_METRIC": "1"}).allow_custom_metric
    for name, value in {"STILLHOUSE_ALLOW_CUSTOM_METRIC": "yes", "STILLHOUSE_SCORER_MAX_TEXT_CHARACTERS": "0"}.items():
        with pytest.raises(InvalidArgument, match=name):
            ScorerConfig.from_env({name: value})
