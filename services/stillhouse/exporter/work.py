"""What the steps of an export hand on to each other. Written by `export`, read by `results`; it does nothing itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.exporter.gates import DEFAULT_MAX_KL_DIVERGENCE, Divergence, Measurement, Reference
from stillhouse.exporter.names import model_slug
from stillhouse.exporter.probes import Probes, Row
from stillhouse.roles.role import Role
from stillhouse.rpc.operation import JobContext
from stillhouse.stages import EXPORT
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.exporter_pb2 import ExportRequest

STEPS_OF_A_BASE = 5
STEPS_OF_A_STUDENT = 7
DEFAULT_CONTEXT_TOKENS = 2048


@dataclass
class ExportWork:
    """One export under way."""

    context: JobContext
    request: ExportRequest
    role: Role
    base: Path
    """Hugging Face directory."""
    adapter: Path | None
    """PEFT directory; None where the base itself is exported."""
    parameters: int
    quantization: str
    step: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        """Scratch folder of this export."""
        return self.context.workspace

    @property
    def name(self) -> str:
        """The model's name as a file name and as Ollama takes it."""
        return model_slug(self.request.model_name)

    @property
    def max_kl_divergence(self) -> float:
        """In nats."""
        return self.request.max_kl_divergence or DEFAULT_MAX_KL_DIVERGENCE

    @property
    def context_tokens(self) -> int:
        """Positions that the base knows."""
        config: dict[str, Any] = json.loads((self.base / "config.json").read_text(encoding="utf-8"))
        return int(config.get("max_position_embeddings") or DEFAULT_CONTEXT_TOKENS)

    def report(self, message: str) -> None:
        """Says what is done next. Raises Cancelled where the export is to stop."""
        self.context.raise_if_stopping()
        total = STEPS_OF_A_STUDENT if self.adapter else STEPS_OF_A_BASE
        progress = Progress(stage=EXPORT.name, message=message, done=min(self.step, total), total=total, unit="steps")
        progress.figures.update(self.figures)
        self.context.report(progress)
        self.step += 1


@dataclass(frozen=True)
class Prepared:
    """The fine-tuned model's answers to the probes, and what the converter reads."""

    chat: ChatTokenizer
    rows: Sequence[Row]
    probes: Probes
    reference: Reference
    model: Path
    """Hugging Face directory, merged."""
    adapter: Path | None
    """PEFT directory that llama.cpp scales right; None for a base, or where no plain LoRA says the same."""

    def with_sequences(self, count: int) -> Prepared:
        """The same with the first `count` sequences of the probes only."""
        probes = replace(self.probes, sequences=self.probes.sequences[:count])
        return replace(self, probes=probes, reference=Reference(self.reference.log_probabilities[:count]))


@dataclass(frozen=True)
class Converted:
    """The GGUF files and what the gates measured."""

    f16: Path
    quantized: Path
    """Equal to `f16` where F16 was asked for."""
    adapter: Path | None
    measured_f16: Measurement
    divergence_quantized: Divergence
    divergence_adapter: Divergence | None
