"""`stillhouse train`: LoRA on a base model from two files of rows, without a Distillation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.bases import DEFAULT_BASE
from stillhouse.cli.choices import chosen_role
from stillhouse.cli.errors import as_usage

if TYPE_CHECKING:
    from rich.console import Console

    from stillhouse.artifacts.store import Store
    from stillhouse.roles.role import Role
    from stillhouse.v1.artifact_pb2 import Artifact
    from stillhouse.v1.trainer_pb2 import Lora, Training, TrainResult

Count = Annotated[int | None, typer.Option(min=1)]


def train(
    train_rows: Annotated[Path, typer.Option("--train", help="JSONL to train on: rows or data set records.")],
    validation: Annotated[Path, typer.Option(help="JSONL whose loss chooses the best checkpoint.")],
    output: Annotated[Path, typer.Option(help="Folder for the adapter, its loss curve and figures.")],
    base: Annotated[
        str, typer.Option(help="builtin:smollm2-135m-instruct, builtin:tiny, a hub name, or a directory.")
    ] = DEFAULT_BASE,
    revision: Annotated[str, typer.Option(help="Commit, branch or tag of a hub name.")] = "",
    preset: Annotated[str | None, typer.Option(help="cpu-135m, t4-7b, l4-7b or a100-7b.")] = None,
    lora_rank: Count = None,
    lora_alpha: Count = None,
    lora_dropout: Annotated[float | None, typer.Option(min=0.0, max=0.99)] = None,
    target_modules: Annotated[str | None, typer.Option(help="q_proj,v_proj or all-linear.")] = None,
    epochs: Count = None,
    batch_size: Count = None,
    micro_batch_size: Count = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0)] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine, linear or constant.")] = None,
    max_length: Annotated[int | None, typer.Option(min=64, help="Tokens of prompt and answer.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=0, help="Stops after that many steps; 0: all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16 or nf4.")] = None,
    role: Annotated[str, typer.Option(help="The role that renders prompts and answers.")] = "product_owner",
    store: Annotated[str | None, typer.Option(help="Object store for checkpoints and results.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of a table.")] = False,
) -> None:
    """Fine-tunes a student with LoRA. The same command again resumes from the last checkpoint.

    A flag beats the preset, the preset beats the defaults (rank 32, alpha 64, q_proj and v_proj, 3 epochs, batch 4,
    2e-4).
    """
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks
    from stillhouse.controller.requests import recipe_messages
    from stillhouse.spec.presets import resolve

    chosen = chosen_role(role)
    with as_usage("--preset"):
        recipe = resolve(
            preset,
            {
                "rank": lora_rank,
                "alpha": lora_alpha,
                "dropout": lora_dropout,
                "target_modules": target_modules.split(",") if target_modules else None,
                "epochs": epochs,
                "batch_size": batch_size,
                "micro_batch_size": micro_batch_size,
                "learning_rate": learning_rate,
                "schedule": schedule,
                "max_length": max_length,
                "max_steps": max_steps,
                "seed": seed,
                "precision": precision,
            },
        )
    screen, opened = remarks(), open_store(store)
    uses = {"train.jsonl": train_rows, "tuning.jsonl": validation}
    rows = [_put_rows(opened, path, chosen, name, screen) for name, path in uses.items()]
    result = _train(opened, chosen, (base, revision), rows, recipe_messages(recipe), screen)
    _deliver(opened, result, output, (base, revision), json_output=json_output)


def _put_rows(store: Store, path: Path, role: Role, name: str, screen: Console) -> Artifact:
    """Raises InvalidArgument where no row of the file can be trained on."""
    import tempfile

    from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
    from stillhouse.cli.files import write_lines
    from stillhouse.cli.training_rows import Tally, records_of
    from stillhouse.dataset.records import write_record
    from stillhouse.errors import InvalidArgument

    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as folder:
        written = Path(folder) / name
        write_lines(written, (write_record(record) for record in records_of(path, role, tally)))
        if not tally.kept:
            raise InvalidArgument(f"{path} has nothing to learn from: {tally}")
        screen.print(f"{path}: {tally}", markup=False, soft_wrap=True)
        return store.put_file(written, name=name, media_type=JSONL_MEDIA_TYPE)


def _train(
    store: Store,
    role: Role,
    base: tuple[str, str],
    rows: list[Artifact],
    options: tuple[Lora, Training],
    screen: Console,
) -> TrainResult:
    from stillhouse.cli.bases import prepare_base
    from stillhouse.cli.jobs import run_stage
    from stillhouse.stages import TRAIN
    from stillhouse.v1.common_pb2 import RoleReference
    from stillhouse.v1.trainer_pb2 import TrainRequest, TrainResult

    prepared = prepare_base(store, *base, screen=screen)
    request = TrainRequest(
        role=RoleReference(name=role.name, version=role.version),
        base=prepared.base,
        train=rows[0],
        tuning=rows[1],
        lora=options[0],
        training=options[1],
    )
    return run_stage(store, TRAIN, request, TrainResult, screen=screen)


def _deliver(store: Store, result: TrainResult, output: Path, base: tuple[str, str], *, json_output: bool) -> None:
    from stillhouse.cli.files import fetch_files, write_json
    from stillhouse.cli.tables import console, facts_table, number, print_json

    fetch_files(store, [*result.adapter.files, result.loss_curve], output)
    document: dict[str, Any] = {
        "adapter": str(output),
        "steps": result.steps,
        "best_step": result.best_step,
        "final_train_loss": result.final_train_loss,
        "best_tuning_loss": result.best_tuning_loss,
        "trained_tokens": result.trained_tokens,
        "device": result.device,
        "precision": result.precision,
    }
    write_json(output / "training.json", document)
    if json_output:
        print_json(document)
        return
    facts = [
        ("adapter", str(output)),
        ("steps", f"{result.steps} (best at {result.best_step})"),
        ("train loss", number(result.final_train_loss)),
        ("tuning loss", f"{number(result.best_tuning_loss)} at the best step"),
        ("tokens", number(int(result.trained_tokens))),
        ("device", f"{result.device}, {result.precision}"),
        ("next", export_command(output, *base)),
    ]
    console().print(facts_table(facts))


def export_command(adapter: Path, base: str, revision: str) -> str:
    """What is done with a trained adapter next."""
    revisions = ["--revision", revision] if revision else []
    return shlex.join(
        ["stillhouse", "export", "--adapter", str(adapter), "--base", base, *revisions, "--output", "DIR"]
    )
