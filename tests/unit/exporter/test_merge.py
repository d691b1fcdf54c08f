from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from exported_tiny import tiny_base, write_adapter
from stillhouse.errors import InvalidArgument, ResourceExhausted
from stillhouse.exporter.merge import (
    adapter_scales,
    answer_log_probabilities,
    count_parameters,
    dtype_that_fits,
    load_fine_tuned,
    plain_lora,
    save_merged,
)

TOKENS, POSITIONS = list(range(100, 140)), [20, 30, 39]
MLP = "mlp.down_proj"


@pytest.fixture(scope="module")
def base() -> Path:
    return tiny_base()


def _edit(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("rslora", [False, True])
def test_the_merged_directory_answers_as_base_and_adapter_do(base: Path, tmp_path: Path, rslora: bool) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", rslora=rslora)
    plain_base = answer_log_probabilities(load_fine_tuned(base, None), TOKENS, POSITIONS)
    model = load_fine_tuned(base, adapter)
    expected = answer_log_probabilities(model, TOKENS, POSITIONS)
    merged = save_merged(model, base, tmp_path / "merged")
    found = answer_log_probabilities(load_fine_tuned(merged, None), TOKENS, POSITIONS)
    assert expected.shape == (3, 49152)
    effect, error = (plain_base - expected).abs().mean(), (found - expected).abs().mean()
    assert error < effect / 100


def test_the_merged_directory_has_the_bases_tokenizer_byte_for_byte(base: Path, tmp_path: Path) -> None:
    merged = save_merged(load_fine_tuned(base, None), base, tmp_path / "merged")
    assert (merged / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert load_file(merged / "model.safetensors")["model.norm.weight"].dtype == torch.float32


def test_rslora_becomes_an_alpha_that_llama_cpp_understands(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", rank=4, rslora=True)
    plain = plain_lora(adapter, adapter_scales(load_fine_tuned(base, adapter)), tmp_path / "plain")
    assert plain is not None
    config = json.loads((plain / "adapter_config.json").read_text())
    assert config["lora_alpha"] == pytest.approx(8 * math.sqrt(4))
    assert config["use_rslora"] is False


def test_alphas_that_differ_by_module_go_into_the_weights(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", modules=("self_attn.q_proj", MLP))
    _edit(adapter, alpha_pattern={"q_proj": 2})
    plain = plain_lora(adapter, adapter_scales(load_fine_tuned(base, adapter)), tmp_path / "plain")
    assert plain is not None
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, plain))
    key = "base_model.model.model.layers.0.{}.lora_B.weight"
    assert torch.allclose(after[key.format("self_attn.q_proj")], before[key.format("self_attn.q_proj")] / 4)
    assert torch.equal(after[key.format(MLP)], before[key.format(MLP)])


def test_dora_has_no_plain_lora(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    scales = adapter_scales(load_fine_tuned(base, adapter))
    _edit(adapter, use_dora=True)
    assert plain_lora(adapter, scales, tmp_path / "plain") is None


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    tensors = {name.replace("layers.1.", "layers.29."): value for name, value in load_file(path).items()}
    save_file(tensors, path)
    with pytest.raises(InvalidArgument, match=r"no module for .*layers\.29") as failure:
        load_fine_tuned(base, adapter)
    assert failure.value.field == "adapter"


def test_an_adapter_without_weights_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InvalidArgument, match=r"no adapter_model\.safetensors"):
        load_fine_tuned(base, adapter)


def test_a_directory_without_weights_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no safetensors"):
        count_parameters(tmp_path)


def test_parameters_are_counted_without_loading_them(base: Path) -> None:
    expected = sum(tensor.numel() for tensor in load_file(base / "model.safetensors").values())
    assert count_parameters(base) == expected


@pytest.mark.parametrize(
    ("free_gigabytes", "allowed_nats", "dtype"),
    [(48, 1e-4, torch.float32), (48, 1.0, torch.float32), (24, 1e-3, "auto")],
)
def test_a_7b_model_is_loaded_as_exactly_as_memory_allows(
    free_gigabytes: int, allowed_nats: float, dtype: torch.dtype | str
) -> None:
    found = dtype_that_fits(7_600_000_000, 15_200_000_000, free_gigabytes * 1e9, allowed_nats=allowed_nats)
    assert found == dtype


@pytest.mark.parametrize(
    ("free_gigabytes", "allowed_nats", "words"),
    [
        (12, 1.0, r"needs 40 GB of memory, and 12 are free; export on a machine that has them$"),
        (24, 1e-4, r"needs 40 GB of memory, and 24 are free; .*maxKlDivergence \(--max-kl\) of 0\.001 or more"),
    ],
)
def test_a_model_that_memory_does_not_hold_well_enough_is_refused_before_the_work(
    free_gigabytes: int, allowed_nats: float, words: str
) -> None:
    with pytest.raises(ResourceExhausted, match=words):
        dtype_that_fits(7_600_000_000, 15_200_000_000, free_gigabytes * 1e9, allowed_nats=allowed_nats)
