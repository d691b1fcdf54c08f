"""How long calls that begin alike take, several at a time: what they share read once, or by each slot for itself.

    python benchmarks/shared_prefix.py --model student.gguf [--slots 8] [--prefix-tokens 500 3500] [--rounds 2]

Both arms ask one server of ours over gRPC, a call for each slot at the same time; `each` does not say that they share
anything, which is how llama.cpp's own server reads them. Every round has a beginning that was never read before, and
each call a few words of its own behind it. Seconds from the first question to the last answer, the mean of the rounds,
which take the arms in opposite orders.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

from measuring import carry_out

ONCE, EACH = ARMS = ("once", "each")
_SENTENCE = "The product owner writes a vision for gardeners who keep a diary. "
_TOKENS_OF_IT = 14
_PATIENCE_SECONDS = 300.0


def shared_prefix(options: argparse.Namespace, folder: Path) -> dict[str, Any]:  # noqa: ARG001 - every benchmark's
    """Seconds by length of the beginning and arm, and what reading it once saves."""
    from stillhouse.cli.models import ModelFile, ServerOptions, local_server
    from stillhouse.client.student import StudentClient
    from stillhouse.client.waiting import wait_until_ready

    os.environ.pop("STILLHOUSE_HTTP_PORT", None)  # nothing is shared where it is offered
    runs: list[dict[str, Any]] = []
    server = ServerOptions(parallel=options.slots, context_tokens=options.context)
    with local_server(ModelFile(options.model), server) as (address, check), StudentClient(address) as client:
        wait_until_ready(client, wait_seconds=_PATIENCE_SECONDS, check=check)
        for number, tokens in itertools.product(range(options.rounds), options.prefix_tokens):
            runs += [
                {"arm": arm, "prefix_tokens": tokens, **measured(client, options, arm, number, tokens)}
                for arm in (ARMS if number % 2 == 0 else reversed(ARMS))
            ]
    rows = []
    for tokens in options.prefix_tokens:
        seconds = {
            arm: fmean(run["seconds"] for run in runs if (run["arm"], run["prefix_tokens"]) == (arm, tokens))
            for arm in ARMS
        }
        rows.append({"prefix_tokens": tokens, **seconds, "ratio": seconds[EACH] / seconds[ONCE]})
    return {"runs": runs, "rows": rows, "missed": []}


def measured(client: Any, options: argparse.Namespace, arm: str, number: int, tokens: int) -> dict[str, Any]:
    """One round of an arm: its seconds, and the prompt tokens that were read rather than copied."""
    from stillhouse.client.student import GenerationOptions
    from stillhouse.roles.role import Message

    beginning = Message("system", f"{arm} {number} {tokens} " + _SENTENCE * (tokens // _TOKENS_OF_IT))
    asked = GenerationOptions(max_tokens=options.tokens, shared_prefix=arm == ONCE)
    began = time.monotonic()
    with ThreadPoolExecutor(options.slots) as threads:
        prompts = [[beginning, Message("user", f"What is number {slot} about?")] for slot in range(options.slots)]
        answers = list(threads.map(lambda prompt: client.generate(prompt, asked), prompts))
    seconds = time.monotonic() - began
    return {"seconds": seconds, "read": sum(answer.prompt_tokens - answer.cached_tokens for answer in answers)}


def show(report: Mapping[str, Any]) -> None:
    """A line for a length."""
    print("tokens shared   once, s   each, s   each / once")
    for row in report["rows"]:
        print(f"{row['prefix_tokens']:13}{row[ONCE]:10.1f}{row[EACH]:10.1f}{row['ratio']:14.2f}")


def main() -> int:
    """0; no target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="FILE.gguf", required=True)
    parser.add_argument("--prefix-tokens", type=int, nargs="+", default=[500, 3500], help="about so many are shared")
    parser.add_argument("--tokens", type=int, default=50, help="of an answer (default %(default)s)")
    parser.add_argument("--slots", type=int, default=8, help="and calls at a time (default %(default)s)")
    parser.add_argument("--context", type=int, default=8192, help="tokens a slot (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="(default %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="the same figures")
    return carry_out(parser.parse_args(), shared_prefix, show)


if __name__ == "__main__":
    sys.exit(main())
