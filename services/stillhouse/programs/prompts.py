"""The digest of what a program sends. Called where a program is captured, restored or checked against its role."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from stillhouse.programs.program import Json

Prompt = Sequence[Mapping[str, Json]]
"""Chat messages, each with `role` and `content`."""


def prompts_sha256(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of the prompts for the probes, in their order, as canonical JSON."""
    text = json.dumps(prompts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
