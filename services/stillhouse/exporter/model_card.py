"""The model card (README.md) of an export: what it is, whose terms it carries, how it was checked, how to use it.

Called by `export`. Text only; it measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CardFile:
    """One exported file."""

    name: str
    sha256: str
    size_bytes: int
    what: str


@dataclass(frozen=True)
class CardFigure:
    """One gate: what was measured and what is allowed, as text."""

    gate: str
    value: str
    allowed: str


@dataclass(frozen=True)
class Card:
    """Everything that the card says."""

    model_name: str
    role: str
    role_version: int
    base_name: str
    base_license: str
    data_source: str
    fine_tuned: bool
    quantization: str
    parameters: int
    files: Sequence[CardFile]
    figures: Sequence[CardFigure]
    ollama_create: str
    base_digest: str
    adapter_digest: str


def write_card(card: Card) -> str:
    """Markdown with the hub's YAML header. The same card gives the same text."""
    kind = "A student" if card.fine_tuned else "The base, unchanged, for comparison"
    header = {
        "license": card.base_license or "other",
        "base_model": card.base_name or "unknown",
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in header.items()), "---", ""]
    lines += [f"# {card.model_name}", ""]
    lines += [f"{kind} for the role `{card.role}` (version {card.role_version}), as GGUF for llama.cpp and Ollama.", ""]
    lines += ["## Terms", ""]
    lines += [
        f"- Base: {card.base_name or 'not named'}, licence {card.base_license or 'not stated: ask its publisher'}."
    ]
    if card.fine_tuned:
        lines += [f"- Training data: {card.data_source or 'source not stated'}."]
        lines += ["- The weights are derived from both; the terms of both apply."]
    lines += ["", "## Files", "", "| file | what | bytes | sha256 |", "| --- | --- | --- | --- |"]
    lines += [f"| {file.name} | {file.what} | {file.size_bytes} | `{file.sha256}` |" for file in card.files]
    lines += ["", f"Parameters: {card.parameters:,}. Quantization of the served file: {card.quantization}."]
    lines += [f"Digest of the base's files: `{card.base_digest}`."]
    if card.adapter_digest:
        lines += [f"Digest of the adapter's files: `{card.adapter_digest}`."]
    lines += ["", "## Checks at export", "", "| gate | measured | allowed |", "| --- | --- | --- |"]
    lines += [f"| {figure.gate} | {figure.value} | {figure.allowed} |" for figure in card.figures]
    lines += [
        "",
        "KL divergence is that of the file against the fine-tuned model in torch, in nats, over teacher-forced",
    ]
    lines += ["answer positions. How good the answers are is measured by the evaluation, not here.", "", "## Use", ""]
    lines += ["```", card.ollama_create, "```", ""]
    lines += ["Prompts are rendered with the base's own chat template; the Modelfile renders the same bytes.", ""]
    return "\n".join(lines)
