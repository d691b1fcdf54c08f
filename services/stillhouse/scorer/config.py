"""The scorer's settings, read from the environment once, at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import custom_metrics_allowed
from stillhouse.scorer.scoring import ScoringLimits

MAX_TEXT_VARIABLE = "STILLHOUSE_SCORER_MAX_TEXT_CHARACTERS"
DEFAULT_MAX_TEXT_CHARACTERS = 262_144
"""Far above any answer: the longest recorded one has about 4,500 characters."""


@dataclass(frozen=True)
class ScorerConfig:
    """What the scorer permits."""

    limits: ScoringLimits
    """STILLHOUSE_SCORER_MAX_TEXT_CHARACTERS and STILLHOUSE_ALLOW_CUSTOM_METRIC."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ScorerConfig:
        """Raises InvalidArgument that names the variable whose value is wrong."""
        text = environ.get(MAX_TEXT_VARIABLE) or str(DEFAULT_MAX_TEXT_CHARACTERS)
        if not text.isdecimal() or int(text) < 1:
            raise InvalidArgument(f"{MAX_TEXT_VARIABLE}={text!r} is no count of characters above 0")
        return cls(ScoringLimits(int(text), custom_metrics_allowed(environ)))
