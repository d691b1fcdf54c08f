"""What llama.cpp makes of a GGUF file: its tokens for texts, its log probabilities at positions of token sequences.

`gates` runs this module as a subprocess (`python -m`), because llama.cpp and torch don't share a process and a process
has one server. It must import neither torch nor anything else of the exporter.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import secrets
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xllamacpp

LISTED_TOKENS = (2000, 10_000)
"""How many of the likeliest tokens are asked for: the first number where those carry SUFFICIENT_MASS, as with trained
models; else the second, because a flat distribution hides in the rest. They take 12 ms and 60 ms, all 49,152 0.3 s."""
SUFFICIENT_MASS = 0.9995
REQUEST_SECONDS = 600


@dataclass
class LlamaServer:
    """A loaded model behind llama.cpp's own listener on loopback."""

    server: Any
    key: str

    @cached_property
    def letter(self) -> int:
        """A token that is whole text: the server reports nothing where it samples part of a character.

        It is what a bias has sampled; the reported log probabilities are those before any bias.
        """
        return self.tokenize("a")[0]

    def post(self, path: str, body: object) -> Any:
        """JSON in, JSON out."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.server.listening_address}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"},
        )
        # Loopback: a proxy of the environment must not see it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=REQUEST_SECONDS) as response:
            return json.loads(response.read())

    def tokenize(self, text: str) -> list[int]:
        """Token ids; special tokens are read as such, none is added."""
        answer = self.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})
        return [int(token) for token in answer["tokens"]]

    def log_probabilities(self, tokens: Sequence[int], *, vocabulary: int) -> tuple[list[int], list[float]]:
        """Ids and log probabilities of the token after `tokens`: the likeliest, most first."""
        ids: list[int] = []
        values: list[float] = []
        for count in LISTED_TOKENS:
            answer = self.post(
                "/completion",
                {
                    "prompt": list(tokens),
                    "n_predict": 1,
                    "n_probs": min(count, vocabulary),
                    "logit_bias": [[self.letter, 1e4]],
                    "temperature": 0,
                    "cache_prompt": True,
                },
            )
            listed = answer["completion_probabilities"][0]["top_logprobs"]
            ids = [int(entry["id"]) for entry in listed]
            values = [max(float(entry["logprob"]), -1e4) for entry in listed]
            if sum(map(math.exp, values)) >= SUFFICIENT_MASS:
                break
        return ids, values


def load(model: Path, *, adapter: Path | None, context_tokens: int) -> LlamaServer:
    """Loads on the CPU with one slot and float32 caches: the gate measures the weights, not the cache's rounding."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = context_tokens
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.verbosity = 0
    params.ui = False
    params.endpoint_slots = False
    params.cache_ram_mib = 0
    params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # Threads that wait by spinning make everything slow where cores are shared.
    params.cpuparams.poll = 0
    params.cpuparams.n_threads = max(1, min(8, len(os.sched_getaffinity(0))))
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    key = secrets.token_hex(16)
    params.api_keys = [key]
    return LlamaServer(xllamacpp.Server(params), key)


def probe(server: LlamaServer, request: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Answers a request {"texts": [...], "sequences": [{"tokens": [...], "positions": [...]}], "vocabulary": N}.

    The result's arrays: `text_tokens` (all texts' ids, one after the other) with `text_offsets` (texts + 1);
    `ids` and `log_probabilities` (all positions', one after the other) with `offsets` (positions + 1). Position p asks
    for the token at index p, given the tokens before it.
    """
    texts = [server.tokenize(text) for text in request["texts"]]
    ids: list[list[int]] = []
    values: list[list[float]] = []
    for sequence in request["sequences"]:
        for position in sequence["positions"]:
            found = server.log_probabilities(sequence["tokens"][:position], vocabulary=request["vocabulary"])
            ids.append(found[0])
            values.append(found[1])
    return {
        "text_tokens": _flat(texts, np.int32),
        "text_offsets": _offsets(texts),
        "ids": _flat(ids, np.int32),
        "log_probabilities": _flat(values, np.float32),
        "offsets": _offsets(ids),
    }


def _flat(rows: Sequence[Sequence[float]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.array([value for row in rows for value in row], dtype=dtype)


def _offsets(rows: Sequence[Sequence[float]]) -> npt.NDArray[Any]:
    return np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)


def main() -> int:
    """Reads --request (JSON) and writes --output (.npz)."""
    parser = argparse.ArgumentParser(prog="python -m stillhouse.exporter.llama_probe", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    request = json.loads(arguments.request.read_text(encoding="utf-8"))
    longest = max((len(sequence["tokens"]) for sequence in request["sequences"]), default=0)
    server = load(arguments.model, adapter=arguments.adapter, context_tokens=max(512, longest + 16))
    arrays: dict[str, Any] = dict(probe(server, request))
    np.savez(arguments.output, **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())
