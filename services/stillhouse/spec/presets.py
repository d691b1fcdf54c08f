"""Training recipes by name: the pure table behind `--preset`, and how a flag, a preset and a default are combined.

The spec, the controller and the CLI call it to fill a TrainRequest. It knows no torch and no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.errors import InvalidArgument


@dataclass(frozen=True)
class Recipe:
    """Everything a TrainRequest says of LoRA and training, with the defaults of a student that names no preset.

    Field names are those of the messages `Lora` and `Training`.
    """

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    use_rslora: bool = False
    epochs: int = 3
    batch_size: int = 4
    micro_batch_size: int = 0
    """Rows at a time in memory; 0 lets the trainer choose: some 2,048 tokens on a CPU, the whole batch on a GPU."""
    learning_rate: float = 2e-4
    schedule: str = "cosine"
    warmup_fraction: float = 0.03
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    max_length: int = 2048
    seed: int = 42
    precision: str = "auto"
    gradient_checkpointing: bool = False
    max_steps: int = 0
    evaluations_per_epoch: int = 2


DEFAULTS = Recipe()

CPU_135M = dataclasses.replace(
    DEFAULTS,
    target_modules=("all-linear",),
    epochs=2,
    learning_rate=6e-4,
    micro_batch_size=1,
)
"""SmolLM2-135M on a laptop's CPU: rank 32 on every linear layer, 2 epochs at 6e-4.

Memory at 1,400 tokens, one row at a time: embedding 28 M x 4 B and linear weights 135 M x 2 B in bf16 = 0.4 GB (0.54 GB
in fp32); LoRA 9.8 M parameters x 16 B (fp32 weight, gradient, two AdamW moments) = 0.16 GB; activations of 30 layers
1,400 x 30 x 30 KB = 1.3 GB and attention weights 30 x 9 x 1,400^2 / 2 x 2 B = 0.5 GB; logits of 750 answer positions x
49,152 x 4 B x 3 (logits, their fp32 copy, gradient) = 0.4 GB; torch and what its allocator keeps 1.5 GB. 4.3 GB was
measured.
"""

T4_7B = dataclasses.replace(
    DEFAULTS,
    rank=16,
    alpha=32,
    micro_batch_size=1,
    precision="nf4",
    gradient_checkpointing=True,
)
"""A 7B base on a 16 GB T4 (no bf16: fp16 arithmetic over a 4-bit base).

Memory: 6.5 G linear weights x 0.5 B + 6 % quantization constants = 3.5 GB; embeddings and head in fp16, 2 x 152,064 x
3,584 x 2 B = 2.2 GB at most (Qwen2.5; 0.5 GB for Mistral); LoRA rank 16 on q and v: 5 M to 7 M x 16 B = 0.1 GB;
checkpointed activations 28 layers x 2,048 x 3,584 x 2 B = 0.4 GB plus one layer's 0.6 GB; logits of 1,000 answer
positions x 152,064 x 4 B x 3 = 1.8 GB: about 8.6 GB of 15.
"""

L4_7B = dataclasses.replace(
    DEFAULTS,
    micro_batch_size=2,
    precision="nf4",
    gradient_checkpointing=True,
)
"""A 7B base on a 24 GB L4 (bf16 arithmetic over a 4-bit base; bf16 weights would take 15.2 GB and leave too little).

Memory: base 3.5 GB + embeddings and head 2.2 GB; LoRA rank 32 on q and v: 10 M to 14 M x 16 B = 0.2 GB; two rows of
2,048 tokens: checkpoints 0.8 GB + one layer's 1.2 GB; logits of 2 x 1,000 positions x 152,064 x 4 B x 3 = 3.6 GB:
about 11.5 GB of 22.
"""

A100_7B = dataclasses.replace(
    DEFAULTS,
    target_modules=("all-linear",),
    micro_batch_size=4,
    precision="bfloat16",
    gradient_checkpointing=True,
)
"""A 7B base on a 40 GB A100 in bf16: rank 32 on every linear layer, a whole batch at a time.

Memory: 7.6 G weights x 2 B = 15.2 GB; LoRA 81 M x 16 B = 1.3 GB; four rows of 2,048 tokens: checkpoints 1.6 GB + one
layer's 2.5 GB; logits of 4 x 1,000 positions x 152,064 x 4 B x 3 = 7.3 GB: about 28 GB of 39.
"""

PRESETS: Mapping[str, Recipe] = {"cpu-135m": CPU_135M, "t4-7b": T4_7B, "l4-7b": L4_7B, "a100-7b": A100_7B}


def resolve(preset: str | None, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe of that preset with the overrides over it: a flag beats the preset, the preset beats the default.

    `overrides` are Recipe fields by name; None means not given. Ranges are checked where the request is executed.
    Raises InvalidArgument on an unknown preset, naming the known ones.
    """
    if preset and preset not in PRESETS:
        raise InvalidArgument(f"unknown preset {preset!r}; presets: {', '.join(PRESETS)}", field="preset")
    given = {name: value for name, value in overrides.items() if value is not None}
    if "target_modules" in given:
        given["target_modules"] = tuple(given["target_modules"])
    return dataclasses.replace(PRESETS[preset] if preset else DEFAULTS, **given)
