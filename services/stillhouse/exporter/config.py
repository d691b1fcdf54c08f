"""The exporter's configuration, read from the environment once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stillhouse.cache import cache_directory


@dataclass(frozen=True)
class ExporterConfig:
    """What an exporter process needs to know beside its requests."""

    cache_directory: Path
    """Where the converter is kept between exports: $STILLHOUSE_CACHE, else ~/.cache/stillhouse."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> ExporterConfig:
        """Reads the variables named at the fields; none is required."""
        return cls(cache_directory(environment))
