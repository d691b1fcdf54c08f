"""Writes the JSON schema of a Distillation to standard output: `python -m stillhouse.spec.schema`."""

from __future__ import annotations

import json
import sys
from typing import Any

from stillhouse.spec.models import Distillation


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the whole file, with the keys as they are written in YAML."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Distillation.model_json_schema(by_alias=True),
    }


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")
