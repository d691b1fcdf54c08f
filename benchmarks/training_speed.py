"""Tokens a second of the trainer against transformers.Trainer with peft: same base, rows, order, LoRA, micro batches.

    python benchmarks/training_speed.py [--quick] [--precision float32 bfloat16] [--output FILE.json]

Each measurement is a process of its own, one after the other. The first optimizer step warms up and is not counted; a
token is a prompt's or an answer's, padding is none. LoRA begins with zero matrices: equal first losses say that both
trainers did the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stillhouse.artifacts.store import Store
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.roles.role import load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.spec.presets import Recipe, resolve
from stillhouse.trainer.config import TrainerConfig
from stillhouse.v1.artifact_pb2 import ArtifactSet
from stillhouse.v1.common_pb2 import Progress, RoleReference
from stillhouse.v1.trainer_pb2 import Lora, Training, TrainRequest

OURS, PEER = "stillhouse", "transformers.Trainer + peft"
ROLE, SEED = "product_owner", 42


@dataclass(frozen=True)
class Work:
    """What both trainers do: `steps` optimizer steps, the first of them not counted."""

    base: str
    recipe: Recipe
    steps: int

    @property
    def rows(self) -> int:
        """One epoch."""
        return self.steps * self.recipe.batch_size


@dataclass(frozen=True)
class Measured:
    """One trainer in one precision."""

    trainer: str
    precision: str
    tokens: int
    seconds: float
    peak_memory_mb: float
    losses: Sequence[float]

    @property
    def tokens_per_second(self) -> float:
        """Without the first step."""
        return self.tokens / self.seconds


def the_work(*, quick: bool, steps: int, precision: str) -> Work:
    """SmolLM2-135M with the recipe for a laptop's CPU; quick: a model of 2 layers with a small LoRA."""
    recipe = resolve("cpu-135m", {"epochs": 1, "precision": precision, "seed": SEED, "evaluations_per_epoch": 0})
    if quick:
        return Work("tiny", replace(recipe, rank=4, alpha=8, batch_size=2), steps or 4)
    return Work("smollm2-135m-instruct", recipe, steps or 6)


def records(count: int) -> list[DataRecord]:
    """Inputs of the role's synthesizer with its scripted author's answers."""
    role = load_role(ROLE)
    return [
        DataRecord(example.inputs, role.canonical(role.parse(role.author(example, seed=SEED)).outputs))
        for example in role.examples(count=count, seed=SEED)
    ]


def measure_ours(work: Work, directory: Path, config: TrainerConfig, scratch: Path) -> Measured:
    """The trainer's own operation, store and all; the clock runs from the end of the first step to that of the last."""
    from stillhouse.trainer.bases import base_files
    from stillhouse.trainer.training import train

    store = Store.open(str(scratch / "store"))
    lora = {field.name: getattr(work.recipe, field.name) for field in Lora.DESCRIPTOR.fields}
    training = {field.name: getattr(work.recipe, field.name) for field in Training.DESCRIPTOR.fields}
    lines = "".join(write_record(record) for record in records(work.rows))
    request = TrainRequest(
        role=RoleReference(name=ROLE, version=load_role(ROLE).version),
        base=ArtifactSet(files=[store.put_file(path, name=path.name) for path in base_files(directory)]),
        train=store.put_bytes(lines.encode(), name="train.jsonl"),
        lora=Lora(**lora),
        training=Training(**training),
        checkpoint_seconds=86_400,
    )
    ends: dict[int, tuple[float, float, float]] = {}

    def on_progress(progress: Progress) -> None:
        if progress.done:
            figures = progress.figures
            ends.setdefault(progress.done, (time.perf_counter(), figures["trained_tokens"], figures["loss"]))

    workspace = scratch / "workspace"
    workspace.mkdir()
    train(JobContext(store, "0" * 64, workspace, on_progress=on_progress), request, config)
    (start, before, _), (end, after, _) = ends[1], ends[work.steps]
    losses = [loss for _, _, loss in ends.values()]
    return Measured(OURS, work.recipe.precision, int(after - before), end - start, peak_memory_mb(), losses)


def measure_peer(work: Work, directory: Path, config: TrainerConfig, scratch: Path) -> Measured:
    """transformers.Trainer as its documentation uses it with peft, over the same tokens in the same order."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainerCallback

    recipe = work.recipe
    torch.set_num_threads(config.threads)
    examples = peer_rows(work, directory)
    base = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        use_rslora=recipe.use_rslora,
    )
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append(time.perf_counter())

    trainer = Trainer(
        model=get_peft_model(base, lora),
        args=peer_arguments(recipe, scratch, use_cpu=not torch.cuda.is_available()),
        train_dataset=examples,
        data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(directory, local_files_only=True)),
        callbacks=[Clock()],
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    tokens = sum(len(row["input_ids"]) for row in examples[recipe.batch_size :])
    return Measured(PEER, recipe.precision, tokens, ends[-1] - ends[0], peak_memory_mb(), losses)


def peer_arguments(recipe: Recipe, scratch: Path, *, use_cpu: bool) -> Any:
    """The recipe in TrainingArguments' words."""
    from transformers import TrainingArguments

    rows = recipe.micro_batch_size or recipe.batch_size
    return TrainingArguments(
        output_dir=str(scratch / "peer"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=recipe.batch_size // rows,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_fraction,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_gradient_norm,
        seed=recipe.seed,
        bf16=recipe.precision == "bfloat16",
        use_cpu=use_cpu,
        train_sampling_strategy="sequential",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def peer_rows(work: Work, directory: Path) -> list[dict[str, list[int]]]:
    """The trainer's own tokens and labels, in the order in which it takes them."""
    from stillhouse.chat_tokenizer import ChatTokenizer
    from stillhouse.trainer.batches import Plan
    from stillhouse.trainer.examples import tokenize_records

    recipe = work.recipe
    examples = tokenize_records(
        records(work.rows),
        role=load_role(ROLE),
        tokenizer=ChatTokenizer(directory),
        max_length=recipe.max_length,
        source="benchmark",
    )
    plan = Plan(len(examples), recipe.batch_size, recipe.epochs, 0, recipe.seed)
    ordered = [examples[row] for step in range(plan.steps) for row in plan.batch(step)]
    return [
        {"input_ids": list(row.tokens), "attention_mask": [1] * row.length, "labels": list(row.labels)}
        for row in ordered
    ]


def peak_memory_mb() -> float:
    """The largest resident set of this process; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure_here(arguments: argparse.Namespace) -> int:
    """One measurement in this process, as JSON on standard output."""
    from transformers.utils.logging import disable_progress_bar

    from stillhouse.trainer.builtin import builtin_directory

    disable_progress_bar()
    (precision,) = arguments.precision
    work, config = the_work(quick=arguments.quick, steps=arguments.steps, precision=precision), TrainerConfig.from_env()
    directory = builtin_directory(work.base, config.cache_directory, stopping=threading.Event())
    measure = {OURS: measure_ours, PEER: measure_peer}[arguments.measure]
    with tempfile.TemporaryDirectory(prefix="training-speed-") as folder:
        measured = measure(work, directory, config, Path(folder))
    sys.stdout.write("\n" + json.dumps(asdict(measured)) + "\n")
    return 0


def measure_apart(trainer: str, precision: str, arguments: argparse.Namespace) -> Measured:
    """The same in a process of its own. Raises CalledProcessError where it fails; its words are on standard error."""
    command = [sys.executable, __file__, "--measure", trainer, "--precision", precision]
    command += ["--steps", str(arguments.steps), *(["--quick"] if arguments.quick else [])]
    # As the trainer's Job sets it for itself; here for both.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env={**environment, **os.environ}, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def summary(results: Sequence[Measured], work: Work) -> dict[str, Any]:
    """What --output holds: the machine, the work, every measurement, ours over the peer's by precision."""
    import peft
    import torch
    import transformers

    speeds = {(one.trainer, one.precision): one.tokens_per_second for one in results}
    precisions = dict.fromkeys(one.precision for one in results)
    return {
        "base": f"builtin:{work.base}",
        "lora_rank": work.recipe.rank,
        "rows_a_step": work.recipe.batch_size,
        "steps_counted": work.steps - 1,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": TrainerConfig.from_env().threads,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, peft)},
        "results": [{**asdict(one), "tokens_per_second": one.tokens_per_second} for one in results],
        "ratios": {precision: speeds[OURS, precision] / speeds[PEER, precision] for precision in precisions},
    }


def print_table(results: Sequence[Measured], document: dict[str, Any]) -> None:
    """For people."""
    print(f"{document['base']} on {document['device']}, {document['threads']} threads, {document['versions']}")
    print(f"{'trainer':30}{'precision':>10}{'tokens/s':>10}{'tokens':>9}{'seconds':>9}{'peak MB':>9}{'first loss':>12}")
    for one in results:
        speed = f"{one.tokens_per_second:10.1f}{one.tokens:9,}{one.seconds:9.1f}{one.peak_memory_mb:9,.0f}"
        print(f"{one.trainer:30}{one.precision:>10}{speed}{one.losses[0]:12.4f}")
    for precision, ratio in document["ratios"].items():
        print(f"{precision}: {ratio:.2f} times the tokens a second of {PEER}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures both trainers in every precision asked for and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="random weights of 2 layers; says nothing about speed")
    precisions = ("float32", "bfloat16")
    parser.add_argument("--precision", nargs="+", choices=precisions, default=list(precisions))
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps, 2 or more, with the one not counted")
    parser.add_argument("--output", type=Path, help="also write the figures to this file, as JSON")
    parser.add_argument("--measure", choices=(OURS, PEER), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.steps and arguments.steps < 2:
        parser.error("--steps must be at least 2: the first one is not counted")
    if arguments.measure:
        return measure_here(arguments)
    results = [measure_apart(name, precision, arguments) for precision in arguments.precision for name in (OURS, PEER)]
    work = the_work(quick=arguments.quick, steps=arguments.steps, precision=arguments.precision[0])
    document = summary(results, work)
    print_table(results, document)
    if arguments.output:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
