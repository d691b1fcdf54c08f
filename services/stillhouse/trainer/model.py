"""Loads a base for training, puts LoRA on it, and writes the adapter in PEFT's format.

`training` calls it. Base weights are frozen in the compute format; trainable weights are float32.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.trainer import attention
from stillhouse.trainer.options import ALL_LINEAR, TrainOptions
from stillhouse.trainer.precision import Compute

NEUTRAL_BASE_NAME = "base"
"""What adapter_config.json says of the base: a path of this machine would change the adapter's digest."""

Weights = dict[str, torch.Tensor]


def load_student(directory: Path, options: TrainOptions, compute: Compute) -> Any:
    """The base with fresh LoRA weights (seeded), on the device, in training mode: a peft.PeftModel.

    Raises FailedPrecondition where the base can't be loaded, InvalidArgument where it has none of the target modules.
    """
    from peft import LoraConfig, get_peft_model

    base = _load_base(directory, compute)
    base.config.use_cache = False
    targets = list(options.target_modules)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=ALL_LINEAR if targets == [ALL_LINEAR] else targets,
        use_rslora=options.use_rslora,
    )
    torch.manual_seed(options.seed)
    try:
        with warnings.catch_warnings():
            # peft still asks transformers for `is_gradient_checkpointing`, which says that it will go away.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            student = get_peft_model(base, lora)
    except ValueError as exc:
        raise InvalidArgument(
            f"lora.target_modules {targets} does not fit the base: {exc}", field="lora.target_modules"
        ) from exc
    if compute.device == "cpu" and compute.arithmetic == torch.bfloat16:
        _narrow_frozen_products(student)
    if options.gradient_checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
    student.train()
    return student


def trainable(student: Any) -> Mapping[str, torch.nn.Parameter]:
    """The LoRA parameters by name, in a stable order."""
    return {name: value for name, value in student.named_parameters() if value.requires_grad}


def copy_weights(student: Any) -> Weights:
    """The LoRA weights as float32 on the CPU."""
    return {name: value.detach().to("cpu", torch.float32, copy=True) for name, value in trainable(student).items()}


def set_weights(student: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Puts LoRA weights back. Raises KeyError or RuntimeError where names or shapes are others."""
    parameters = trainable(student)
    if parameters.keys() != weights.keys():
        raise KeyError("the weights are those of another LoRA")
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(weights[name])


def write_adapter(student: Any, directory: Path) -> None:
    """adapter_config.json and adapter_model.safetensors; equal weights give equal bytes."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(student, save_embedding_layers=False)
    tensors = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in state.items()}
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = student.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=NEUTRAL_BASE_NAME, inference_mode=True, revision=None)
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    (directory / "adapter_config.json").write_text(text + "\n", "utf-8")


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return getattr(value, "value", str(value))


def _load_base(directory: Path, compute: Compute) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings: dict[str, Any] = {"dtype": torch.float32 if compute.device == "cpu" else compute.arithmetic}
    if compute.precision == "nf4":
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute.arithmetic,
        )
    if compute.device == "cuda":
        settings["device_map"] = {"": 0}
    settings["attn_implementation"] = "sdpa"
    if compute.device == "cpu" and compute.arithmetic == torch.bfloat16:
        attention.register()
        settings["attn_implementation"] = attention.NAME
    try:
        base = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, use_safetensors=True, **settings)
    except (OSError, ValueError, KeyError, ImportError) as exc:
        raise FailedPrecondition(f"the base can't be loaded: {' '.join(str(exc).split())[:300]}", field="base") from exc
    base.requires_grad_(requires_grad=False)
    return base


def _narrow_frozen_products(student: Any) -> None:
    """Keeps the frozen matrices of linear layers in bfloat16, once; autocast would narrow them again at every use.

    Embedding, norms and the residual stream stay float32. A head that is tied to the embedding gets a copy.
    """
    for module in student.modules():
        if isinstance(module, torch.nn.Linear) and not module.weight.requires_grad:
            module.weight = torch.nn.Parameter(module.weight.data.to(torch.bfloat16), requires_grad=False)
