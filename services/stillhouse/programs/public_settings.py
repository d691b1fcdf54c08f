"""Settings of a language model that may be written down: no secrets, no addresses, nothing that is no JSON.

Called when a program is captured. Knows no DSPy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stillhouse.programs.program import Json
from stillhouse.programs.values import as_json

_SECRET_NAME = re.compile(
    "key|secret|password|passwd|credential|auth|header|cookie|bearer|cert|proxy|url|endpoint|api_base|model_list"
)
_COUNT_OF_TOKENS = re.compile(r"(max|min|budget)_([a-z]+_)*tokens")
_SECRET_TEXT = re.compile(r"://[^/\s]*@|^(bearer|basic)\s", re.IGNORECASE)


def is_secret(name: str, value: object) -> bool:
    """True where the name speaks of a credential, an address or headers, or the text is one with a credential."""
    lowered = name.lower()
    if "token" in lowered and not _COUNT_OF_TOKENS.fullmatch(lowered):
        return True
    return bool(_SECRET_NAME.search(lowered)) or (isinstance(value, str) and bool(_SECRET_TEXT.search(value)))


def public_settings(settings: Mapping[str, Any]) -> dict[str, Json]:
    """The settings without what `is_secret`, at any depth. Raises ValueError naming a setting that is no JSON."""
    kept: dict[str, Json] = {}
    for name, value in _without_secrets(settings).items():
        try:
            kept[name] = as_json(value)
        except ValueError as exc:
            raise ValueError(f"setting {name}: {exc}") from exc
    return kept


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_secrets(item) for name, item in value.items() if not is_secret(str(name), item)}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value if not is_secret("", item)]
    return value
