"""The contenders of `teacher_throughput`, each as the command of a process of its own.

The library's interpreter runs this file too, so the top imports the standard library alone.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from measuring import MAX_OUTPUT_TOKENS, MODEL, ROLE, SEED, TEMPERATURE

_NO_LIMIT = 10**9


@dataclass(frozen=True)
class Work:
    """What a contender's process is told. `folder` has concepts.jsonl and prompts.jsonl; records go to `output`."""

    folder: str
    output: str
    records: int
    concurrency: int
    quota: int = 0
    """Calls a minute; 0: no limit."""
    pause_seconds: float = 0.0
    url: str = ""
    openai_url: str = ""


def our_command(work: Work) -> list[str]:
    """`stillhouse generate` as anyone calls it."""
    command = [sys.executable, "-m", "stillhouse.cli", "generate", "--role", ROLE, "--provider", "vertex", "--json"]
    command += ["--model", MODEL, "--endpoint", work.url, "--concepts", f"{work.folder}/concepts.jsonl"]
    command += ["--output", work.output, "--max-records", str(work.records), "--seed", str(SEED)]
    command += ["--concurrency", str(work.concurrency), "--store", f"file://{work.folder}/store"]
    return command + (["--requests-per-minute", str(work.quota)] if work.quota else [])


def child_command(function: Callable[[Work], None], work: Work, *, python: str = sys.executable) -> list[str]:
    """This file, as the process of one contender."""
    return [python, str(Path(__file__).resolve()), function.__name__, json.dumps(asdict(work))]


def run_original(work: Work) -> None:
    """The original way, with the production client; every answer is read, judged and written."""
    from teacher_work import OriginalWay, opened, teacher_model

    from stillhouse.roles.role import load_role

    async def ask_all(stream: IO[str]) -> None:
        model = teacher_model(work.url)
        async with opened(model) as client:
            way = OriginalWay(load_role(ROLE), model, client, work.pause_seconds)
            async for outcome in way.pursue(rows_of(Path(work.folder) / "concepts.jsonl", work.records)):
                if outcome.accepted is not None:
                    record = {**outcome.concept.inputs, **outcome.accepted.outputs, "score": outcome.accepted.score}
                    stream.write(json.dumps(record) + "\n")

    with Path(work.output).open("w", encoding="utf-8") as stream:
        asyncio.run(ask_all(stream))


def run_peer(work: Work) -> None:
    """The library as its documentation uses it, with its own concurrency; its openai backend needs a download."""
    folder = Path(work.output).parent
    os.environ.update(TELEMETRY_ENABLED="0", CURATOR_DISABLE_RICH_DISPLAY="1", CURATOR_CACHE_DIR=str(folder / "peer"))
    os.environ.update(OPENAI_API_KEY="none", HF_HUB_OFFLINE="1", LITELLM_LOCAL_MODEL_COST_MAP="True")
    curator: Any = importlib.import_module("bespokelabs.curator")

    class Writer(curator.LLM):  # type: ignore[misc]
        def prompt(self, row: Mapping[str, Any]) -> Any:
            return row["messages"]

        def parse(self, row: Mapping[str, Any], response: str) -> list[dict[str, str]]:  # noqa: ARG002 - its signature
            return [{"response": response}]

    writer = Writer(
        model_name=f"openai/{MODEL}",
        backend="litellm",
        backend_params={
            "base_url": work.openai_url,
            "max_concurrent_requests": work.concurrency,
            "max_requests_per_minute": work.quota or _NO_LIMIT,
            "max_tokens_per_minute": _NO_LIMIT,
        },
        generation_params={"temperature": TEMPERATURE, "max_tokens": MAX_OUTPUT_TOKENS, "seed": SEED},
    )
    rows = writer(list(rows_of(Path(work.folder) / "prompts.jsonl", work.records))).dataset
    with Path(work.output).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(dict(row)) + "\n" for row in rows)


def write_prompts(work: Work) -> None:
    """The concepts, and the prompts that `stillhouse generate` makes of them."""
    from stillhouse.dataset.concepts import concept_line
    from stillhouse.roles.role import load_role

    role = load_role(ROLE)
    folder = Path(work.folder)
    with (folder / "concepts.jsonl").open("w") as concepts, (folder / "prompts.jsonl").open("w") as prompts:
        for example in role.examples(count=work.records, seed=SEED, planted=0.0):
            concepts.write(concept_line(example))
            messages = role.teacher_messages(example.inputs, structured=False)
            prompts.write(json.dumps({"messages": [asdict(message) for message in messages]}) + "\n")


def rows_of(path: Path, count: int) -> Iterator[dict[str, Any]]:
    """The first rows of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        for _, line in zip(range(count), lines, strict=False):
            yield json.loads(line)


CHILDREN: Mapping[str, Callable[[Work], None]] = {
    function.__name__: function for function in (run_original, run_peer, write_prompts)
}

if __name__ == "__main__":
    CHILDREN[sys.argv[1]](Work(**json.loads(sys.argv[2])))
