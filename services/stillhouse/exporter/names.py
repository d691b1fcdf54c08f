"""What an exported model is called where not every name will do. Called by the exporter and by `stillhouse export`."""

from __future__ import annotations

import re


def model_slug(model_name: str) -> str:
    """The model's name as a file name and as Ollama takes it."""
    return re.sub(r"[^a-z0-9._-]+", "-", model_name.lower()).strip("-.") or "student"
