from __future__ import annotations

import importlib.util

import pytest

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.exporter.quantization import LLAMA_CPP_TYPES, choose_quantization

HAS_LLAMA_CPP = importlib.util.find_spec("llama_cpp") is not None


@pytest.mark.parametrize("parameters", [135_000_000, 999_999_999, 2_900_000_000])
def test_small_bases_are_kept_at_8_bits(parameters: int) -> None:
    assert choose_quantization("", parameters) == "Q8_0"


@pytest.mark.skipif(HAS_LLAMA_CPP, reason="llama-cpp-python is installed")
def test_a_k_quant_without_its_quantizer_names_the_remedy() -> None:
    with pytest.raises(FailedPrecondition, match=r"pip install llama-cpp-python==0\.3\.36.*or ask for Q8_0") as failure:
        choose_quantization("", 7_000_000_000)
    assert failure.value.message.startswith("Q4_K_M")


def test_names_are_read_in_any_case() -> None:
    assert choose_quantization("f16", 1) == "F16"


def test_an_unknown_quantization_lists_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"Q8_0.*Q4_K_M") as failure:
        choose_quantization("Q9_Z", 1)
    assert failure.value.field == "quantization"


@pytest.mark.skipif(not HAS_LLAMA_CPP, reason="llama-cpp-python is not installed")
def test_the_quantizers_numbers_are_those_of_llama_cpp() -> None:
    import llama_cpp

    for name, number in LLAMA_CPP_TYPES.items():
        assert getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}") == number
