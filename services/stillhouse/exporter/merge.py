"""The fine-tuned model in torch: loaded from a Hugging Face directory and a PEFT adapter, asked, merged, saved.

Called by `export` and `gates`. Knows nothing of GGUF, of llama.cpp or of roles.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stillhouse.errors import InvalidArgument, ResourceExhausted

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
LORA_A = ".lora_A.weight"
LORA_B = ".lora_B.weight"
BYTES_PER_FLOAT32 = 4
MEMORY_MARGIN = 1.3
HALF_PRECISION_NATS = 1e-3
"""By how much a reference in half precision is inexact, about."""


def count_parameters(model: Path) -> int:
    """Elements of all tensors in a directory's safetensors files, read from their headers."""
    total = 0
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    if total == 0:
        raise InvalidArgument("the base holds no safetensors weights; prepare it with PrepareBase", field="base")
    return total


def load_fine_tuned(base: Path, adapter: Path | None, *, allowed_nats: float = 0.0) -> Any:
    """The base with its adapter applied, in evaluation mode, in float32; where memory doesn't hold that, as saved, if
    the divergence that is `allowed_nats` is larger than what that makes inexact.

    Raises InvalidArgument where either can't be loaded, or the adapter is not one for this base; ResourceExhausted
    where memory doesn't hold the base.
    """
    saved_bytes = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    dtype = dtype_that_fits(count_parameters(base), saved_bytes, _available_memory(), allowed_nats=allowed_nats)
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, local_files_only=True)
    except (OSError, ValueError, KeyError) as exc:
        raise InvalidArgument(f"the base can't be loaded as a causal language model: {exc}", field="base") from exc
    if adapter is not None:
        _check_adapter(adapter)
        try:
            with warnings.catch_warnings():
                # PEFT 0.21 reads an attribute that transformers 5 deprecates; weights that it misses are checked below.
                warnings.simplefilter("ignore")
                model = PeftModel.from_pretrained(model, adapter)
        except (OSError, ValueError, KeyError, RuntimeError) as exc:
            raise InvalidArgument(f"the adapter does not fit the base: {exc}", field="adapter") from exc
        _check_every_weight_is_used(model, adapter)
    return model.eval()


def answer_log_probabilities(model: Any, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
    """Log probabilities of the token at each position given those before it: float32, (positions, vocabulary)."""
    rows = torch.tensor([position - 1 for position in positions])
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([list(tokens)]), logits_to_keep=rows, use_cache=False)
        return torch.log_softmax(output.logits[0].double(), dim=-1).float()


def save_merged(model: Any, tokenizer_source: Path, output: Path) -> Path:
    """Merges the adapter into the weights of `model` (which is spent afterwards) and saves a Hugging Face directory.

    Matrices are saved as float16, as the f16 GGUF holds them; vectors (norms, biases) stay float32, as there.
    """
    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    for parameter in merged.parameters():
        if parameter.dim() >= 2:
            parameter.data = parameter.data.to(torch.float16)
    merged.save_pretrained(output, max_shard_size="2GB")
    copy_tokenizer(tokenizer_source, output)
    gc.collect()
    return output


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies everything but weights and what is there already: the tokenizer's files, byte for byte."""
    for path in sorted(source.iterdir()):
        weights = path.suffix in {".safetensors", ".bin", ".gguf"} or path.name.endswith(".index.json")
        if path.is_file() and not weights and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)


def adapter_scales(model: Any) -> dict[str, float]:
    """What PEFT multiplies each adapted module's B A with, by the module's name in the adapter's file."""
    return {
        name: float(module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def plain_lora(adapter: Path, scales: Mapping[str, float], output: Path) -> Path | None:
    """A copy of the adapter that llama.cpp scales right, or None where no plain LoRA says the same.

    llama.cpp multiplies B A with `lora_alpha` / rank and knows nothing else. So `lora_alpha` becomes scale * rank (for
    rsLoRA that is alpha * sqrt(rank), Kalajdzievski 2023, arXiv:2312.03732); where modules differ in it, the scale goes
    into B. None for DoRA, saved modules and trained biases, which only the merged model has.
    """
    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    weights = load_file(adapter / ADAPTER_WEIGHTS)
    plain = all(name.endswith((LORA_A, LORA_B)) for name in weights)
    if not plain or config.get("use_dora") or config.get("modules_to_save"):
        return None
    ranks = {name: weights[name].shape[1] for name in weights if name.endswith(LORA_B)}
    alphas = {name: scales[name.removesuffix(LORA_B)] * rank for name, rank in ranks.items()}
    config["lora_alpha"] = max(alphas.values())
    for name, alpha in alphas.items():
        if alpha != config["lora_alpha"]:
            weights[name] = weights[name] * (alpha / config["lora_alpha"])
    config |= {"use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}}
    output.mkdir()
    (output / ADAPTER_CONFIG).write_text(json.dumps(config, sort_keys=True), encoding="utf-8")
    save_file(weights, output / ADAPTER_WEIGHTS)
    return output


def _check_adapter(adapter: Path) -> None:
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (adapter / name).is_file():
            raise InvalidArgument(f"the adapter has no {name}; it must be a PEFT LoRA directory", field="adapter")
    kind = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("peft_type")
    if kind != "LORA":
        raise InvalidArgument(f"the adapter is of type {kind}; only LORA can be exported", field="adapter")


def _check_every_weight_is_used(model: Any, adapter: Path) -> None:
    """PEFT only warns of weights that it finds no module for; a student without them is another student."""
    modules = {name for name, _ in model.named_modules()}
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.endswith((LORA_A, LORA_B))]  # noqa: SIM118
    for name in names:
        if name.removesuffix(LORA_A).removesuffix(LORA_B) not in modules:
            raise InvalidArgument(f"the adapter does not fit the base, which has no module for {name}", field="adapter")


def dtype_that_fits(
    parameters: int, saved_bytes: int, available_bytes: float, *, allowed_nats: float
) -> torch.dtype | str:
    """float32 where memory allows, else as saved, where the gate on divergence is wide enough for that.

    Raises ResourceExhausted: the system would end the process, or the gate would refuse its files after hours.
    """
    needed = parameters * BYTES_PER_FLOAT32 * MEMORY_MARGIN
    if needed <= available_bytes:
        return torch.float32
    words = f"the fine-tuned model needs {needed / 1e9:.0f} GB of memory, and {available_bytes / 1e9:.0f} are free"
    if saved_bytes > available_bytes:
        raise ResourceExhausted(f"{words}; export on a machine that has them")
    if allowed_nats < HALF_PRECISION_NATS:
        raise ResourceExhausted(
            f"{words}; export on a machine that has them, or allow what half precision makes inexact: "
            f"maxKlDivergence (--max-kl) of {HALF_PRECISION_NATS:g} or more"
        )
    return "auto"


def _available_memory() -> float:
    """Bytes; infinite where the system doesn't say."""
    bounds = [math.inf]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        bounds.append(1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        bounds.append(float(limit - used))
    return min(bounds)
