"""How fast a student reads prompts and writes answers: as Stillhouse serves it, and with llama.cpp's own defaults.

    python benchmarks/student_throughput.py --model student.gguf [--slots 2 8] [--prompt-tokens 500 4000] [--rounds 2]

Both arms are llama.cpp's server with our settings; `default` leaves the choice of flash attention and the format of the
cache to it. Each has a process of its own for each number of slots, one after the other, rounds in opposite orders. All
slots are asked at the same time: first their prompts, all of them new, then an answer of --tokens tokens. Figures are
of all slots together, the mean of the rounds. On a GPU both arms are the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

from measuring import carry_out, usage_of

OURS, DEFAULT = ARMS = ("stillhouse", "default")
_SENTENCE = "The product owner writes a vision for gardeners who keep a diary. "
_TOKENS_OF_IT = 14


def throughput(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tokens a second by slots, length of the prompt and arm, and what ours are of llama.cpp's own."""
    runs: list[dict[str, Any]] = []
    arms = [(slots, arm) for slots in options.slots for arm in ARMS]
    for number in range(options.rounds):
        for slots, arm in arms if number % 2 == 0 else reversed(arms):
            output = folder / "run.json"
            work = {**vars(options), "slots": slots, "arm": arm, "model": str(options.model), "output": str(output)}
            usage_of([sys.executable, __file__, json.dumps(work)], folder / "log")
            runs += json.loads(output.read_bytes())
    rows = []
    for slots, tokens in itertools.product(options.slots, options.prompt_tokens):
        row: dict[str, Any] = {"slots": slots, "prompt_tokens": tokens}
        same = [run for run in runs if (run["slots"], run["prompt_tokens"]) == (slots, tokens)]
        for figure in ("reading", "writing"):
            for arm in ARMS:
                row[f"{figure}_{arm}"] = fmean(run[figure] for run in same if run["arm"] == arm)
            row[f"{figure}_ratio"] = row[f"{figure}_{OURS}"] / row[f"{figure}_{DEFAULT}"]
        rows.append(row)
    return {"runs": runs, "rows": rows, "missed": []}


def show(report: Mapping[str, Any]) -> None:
    """A line for slots and a length."""
    print("       prompt    reading, tokens/s           writing, tokens/s")
    print("slots  tokens    ours  default  ratio        ours  default  ratio")
    for row in report["rows"]:
        figures = [f"{row[f'{name}_{arm}']:8.0f}" for name in ("reading", "writing") for arm in ARMS]
        print(
            f"{row['slots']:5}{row['prompt_tokens']:8}{figures[0]}{figures[1]} {row['reading_ratio']:7.2f}"
            f"    {figures[2]}{figures[3]} {row['writing_ratio']:7.2f}"
        )


def measure_arm(work: Mapping[str, Any]) -> None:
    """One arm in this process; its figures go to a file."""
    import xllamacpp

    from stillhouse.student_inference.config import EngineConfig
    from stillhouse.student_inference.gguf_header import read_header
    from stillhouse.student_inference.llama import server_parameters

    path = Path(work["model"])
    config = EngineConfig(parallel=work["slots"], context_tokens=work["context"])
    parameters = server_parameters(path, read_header(path), config)
    if work["arm"] == DEFAULT:
        untouched = xllamacpp.CommonParams()
        parameters.flash_attn_type, parameters.cache_type_k = untouched.flash_attn_type, untouched.cache_type_k
    server = xllamacpp.Server(parameters)
    key = parameters.api_keys[0]

    def complete(prompt: str, tokens: int) -> int:
        body = {"prompt": prompt, "n_predict": tokens, "ignore_eos": True, "temperature": 0}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        asked = urllib.request.Request(f"{server.listening_address}/completion", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked) as answer:
            return int(json.load(answer)["timings"]["prompt_n"])

    runs = []
    with ThreadPoolExecutor(work["slots"]) as threads:

        def timed(prompts: list[str], tokens: int) -> tuple[float, int]:
            began = time.monotonic()
            read = sum(threads.map(lambda prompt: complete(prompt, tokens), prompts))
            return time.monotonic() - began, read

        for length in work["prompt_tokens"]:
            text = _SENTENCE * (length // _TOKENS_OF_IT)
            prompts = [f"{length} {slot} {text}" for slot in range(work["slots"])]
            reading_seconds, read = timed(prompts, 1)
            writing_seconds, _ = timed(prompts, work["tokens"])
            runs.append(
                {
                    "arm": work["arm"],
                    "slots": work["slots"],
                    "prompt_tokens": length,
                    "reading": read / reading_seconds,
                    "writing": len(prompts) * work["tokens"] / writing_seconds,
                }
            )
    Path(work["output"]).write_text(json.dumps(runs), encoding="utf-8")
    # llama.cpp's server has no end of its own in this process.
    os._exit(0)


def main() -> int:
    """0; no target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="FILE.gguf", required=True)
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[500, 1500, 4000], help="about so many")
    parser.add_argument("--tokens", type=int, default=200, help="of an answer (default %(default)s)")
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--context", type=int, default=8192, help="tokens a slot (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="(default %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the same figures")
    return carry_out(parser.parse_args(), throughput, show)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        measure_arm(json.loads(sys.argv[1]))
    sys.exit(main())
