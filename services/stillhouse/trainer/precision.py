"""Device and number format of a training: what the request asks for against what this machine can do.

Measured with SmolLM2-135M, LoRA rank 32 on every linear layer, rows of 1,240 tokens, on a core with avx512_bf16: 350
tokens a CPU second in bfloat16 against 115 in float32; the loss equal to 0.15 %, cosine of the gradients 0.999. On
processors without avx512_bf16 or amx bfloat16 is 3 times slower than float32.
"""

from __future__ import annotations

import contextlib
import importlib.util
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from stillhouse.errors import FailedPrecondition


@dataclass(frozen=True)
class Compute:
    """Where and in which format a training computes. `precision` is float32, bfloat16, float16 or nf4."""

    device: str
    precision: str
    arithmetic: torch.dtype
    """Of matrix products; trainable weights, their gradients and AdamW's moments are always float32."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward pass."""
        if self.arithmetic == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=self.arithmetic)

    @property
    def scales_loss(self) -> bool:
        """float16 has too small a range for gradients: their loss is scaled."""
        return self.arithmetic == torch.float16


def choose_compute(precision: str) -> Compute:
    """What `precision` means on this machine; `auto` takes the fastest that is safe.

    Raises FailedPrecondition where the machine can't do what is asked, with the remedy.
    """
    if torch.cuda.is_available():
        return _on_cuda(precision)
    if precision in ("float16", "nf4"):
        raise FailedPrecondition(
            f"training.precision {precision} needs a CUDA GPU and this machine has none; use auto, bfloat16 or float32",
            field="training.precision",
        )
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16() else "float32"
    return Compute("cpu", precision, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def has_fast_bfloat16() -> bool:
    """True on processors with avx512_bf16 or amx."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _on_cuda(precision: str) -> Compute:
    half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if precision == "nf4":
        if importlib.util.find_spec("bitsandbytes") is None:
            raise FailedPrecondition(
                "training.precision nf4 needs bitsandbytes; install stillhouse[cuda]", field="training.precision"
            )
        return Compute("cuda", "nf4", half)
    if precision == "bfloat16" and half != torch.bfloat16:
        raise FailedPrecondition(
            "this GPU has no bfloat16; use training.precision auto, float16 or nf4", field="training.precision"
        )
    chosen = {"auto": half, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    return Compute("cuda", str(chosen).removeprefix("torch."), chosen)
