"""Which quantization an export has, and who writes it: the converter itself, or llama-cpp-python for the K-quants.

Called by `export`. Run as `python -m stillhouse.exporter.quantization` it is the K-quantizer's own process: torch and
llama.cpp don't share one.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import threading
from pathlib import Path

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.exporter.converter import CONVERTER_TYPES, converter_pin
from stillhouse.rpc.tool import run_tool

SMALL_PARAMETERS = 3_000_000_000
"""Q8_0 below, Q4_K_M from here. Between 1B and 3B Q4_K_M would save under 2 GB and cost accuracy; measured on 135M:
mean KL divergence 0.13 nats at Q4_K_M against 0.011 at Q8_0."""
LLAMA_CPP_TYPES = {
    "Q4_0": 2,
    "Q4_1": 3,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
}
"""llama.h's `llama_ftype` of those that need no importance matrix."""


def choose_quantization(asked: str, parameters: int) -> str:
    """The asked-for quantization, or the default by the base's size.

    Raises InvalidArgument for an unknown one and FailedPrecondition for one whose quantizer is not installed.
    """
    name = asked.upper() or ("Q8_0" if parameters < SMALL_PARAMETERS else "Q4_K_M")
    if name in CONVERTER_TYPES:
        return name
    if name not in LLAMA_CPP_TYPES:
        known = ", ".join([*CONVERTER_TYPES, *LLAMA_CPP_TYPES])
        raise InvalidArgument(f"unknown quantization {asked!r}; known: {known}", field="quantization")
    if importlib.util.find_spec("llama_cpp") is None:
        pin = converter_pin()
        raise FailedPrecondition(
            f"{name} is written by llama-cpp-python, which is not installed: run `pip install "
            f"{pin.project}=={pin.version}` (it compiles llama.cpp), or ask for Q8_0, which needs nothing",
            field="quantization",
        )
    return name


def quantize(source: Path, output: Path, *, name: str, log: Path, stopping: threading.Event) -> Path:
    """Writes an f16 GGUF in one of LLAMA_CPP_TYPES, in a process of its own. Errors as `run_tool`."""
    command = [sys.executable, "-m", "stillhouse.exporter.quantization", str(source), str(output), name]
    run_tool(f"llama-cpp-python's quantizer ({name})", command, log=log, stopping=stopping)
    return output


def main() -> int:
    """Arguments: source, output, name."""
    source, output, name = sys.argv[1:4]
    llama_cpp = importlib.import_module("llama_cpp")
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = LLAMA_CPP_TYPES[name]
    return int(llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(params)) != 0)


if __name__ == "__main__":
    sys.exit(main())
