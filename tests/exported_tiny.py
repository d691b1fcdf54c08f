"""The tiny base and LoRA adapters for it, for tests of the exporter; they skip where the base can't be had."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gguf_fixture import CACHE
from stillhouse.errors import Unavailable
from stillhouse.trainer.builtin import builtin_directory

Q_PROJECTION = "self_attn.q_proj"


def tiny_base() -> Path:
    """builtin:tiny as a Hugging Face directory, kept in the cache; skips where its tokenizer can't be downloaded."""
    try:
        return builtin_directory("tiny", CACHE, stopping=threading.Event())
    except Unavailable as exc:
        pytest.skip(f"the tiny base can't be had: {exc.message[-300:]}")


def write_adapter(
    base: Path, directory: Path, *, rank: int = 4, rslora: bool = False, modules: Sequence[str] = (Q_PROJECTION,)
) -> Path:
    """A PEFT adapter with random, strong weights on `modules` of every layer."""
    weights = load_file(base / "model.safetensors")
    generator = torch.Generator().manual_seed(7)
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in sorted(weights.items()):
        module = name.removesuffix(".weight")
        if any(module.endswith(wanted) for wanted in modules):
            rows, columns = weight.shape
            key = f"base_model.model.{module}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
            tensors[f"{key}.lora_B.weight"] = torch.randn(rows, rank, generator=generator)
    directory.mkdir()
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 8,
        "use_rslora": rslora,
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
        "base_model_name_or_path": "tiny",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory
