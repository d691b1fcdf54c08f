from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from job_contexts import job_context
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, DataLoss, FailedPrecondition, InvalidArgument
from stillhouse.rpc.operation import JobContext
from stillhouse.trainer.config import TrainerConfig
from stillhouse.trainer.training import train
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.trainer_pb2 import TrainRequest, TrainResult
from training_fixture import one_thread, synthesized_records, train_request

CONFIG = TrainerConfig(**one_thread())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def new_context(tmp_path: Path, store: Store) -> Callable[..., JobContext]:
    """Each call is another machine: nothing but the store is shared."""
    made = iter(range(100))

    def make(key: str = "a" * 64, on_progress: Callable[[Progress], None] | None = None) -> JobContext:
        workspace = tmp_path / f"machine-{next(made)}"
        workspace.mkdir()
        return job_context(store, workspace, key=key, on_progress=on_progress)

    return make


def curve(store: Store, result: TrainResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.read_bytes(result.loss_curve).decode().splitlines()]


def stop_after(step: int, new_context: Callable[..., JobContext], request: TrainRequest) -> None:
    """Trains until that step is reported, then asks to stop, as SIGTERM does."""

    def on_progress(progress: Progress) -> None:
        if progress.done == step:
            context.stopping.set()

    context = new_context(on_progress=on_progress)
    with pytest.raises(Cancelled):
        train(context, request, CONFIG)


def test_the_loss_falls_on_a_repetitive_set(store: Store, new_context: Callable[..., JobContext]) -> None:
    request = train_request(store, synthesized_records(2) * 5, None, epochs=2, learning_rate=2e-2)

    result = train(new_context(), request, CONFIG)

    losses = [row["loss"] for row in curve(store, result)]
    assert result.steps == len(losses) == 10
    assert losses[-1] < losses[0] - 2
    assert result.final_train_loss == losses[-1]


def test_the_adapter_is_in_pefts_format_and_names_no_path(
    store: Store, new_context: Callable[..., JobContext], tmp_path: Path
) -> None:
    request = train_request(store, synthesized_records(2), None, use_rslora=True, dropout=0.1)

    result = train(new_context(), request, CONFIG)

    directory = store.fetch_set(result.adapter, tmp_path / "adapter")
    config = json.loads((directory / "adapter_config.json").read_text())
    assert [file.name for file in result.adapter.files] == ["adapter_config.json", "adapter_model.safetensors"]
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8)
    assert config["use_rslora"] is True
    assert config["base_model_name_or_path"] == "base"
    assert "model.layers.0.mlp.down_proj" in config["target_modules"]
    tensors = load_file(directory / "adapter_model.safetensors")
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in tensors
    assert any(value.abs().sum() > 0 for name, value in tensors.items() if "lora_B" in name)


def test_the_same_request_gives_the_same_bytes(store: Store, new_context: Callable[..., JobContext]) -> None:
    request = train_request(store, synthesized_records(3), synthesized_records(1, seed=9), dropout=0.2)

    first, second = (train(new_context(key), request, CONFIG) for key in ("a" * 64, "b" * 64))

    assert [file.sha256 for file in first.adapter.files] == [file.sha256 for file in second.adapter.files]
    assert first.loss_curve.sha256 == second.loss_curve.sha256


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stopped_training_resumes_elsewhere_as_if_it_had_never_stopped(
    store: Store, new_context: Callable[..., JobContext], precision: str
) -> None:
    request = train_request(
        store,
        synthesized_records(5),
        synthesized_records(2, seed=9),
        epochs=2,
        dropout=0.1,
        evaluations_per_epoch=3,
        precision=precision,
    )
    whole = train(new_context("w" * 64), request, CONFIG)

    stop_after(1, new_context, request)
    stop_after(4, new_context, request)
    resumed = train(new_context(), request, CONFIG)

    for row, wanted in zip(curve(store, resumed), curve(store, whole), strict=True):
        assert row == pytest.approx(wanted, abs=1e-6)
    assert resumed.best_step == whole.best_step
    assert resumed.trained_tokens == whole.trained_tokens
    assert [file.sha256 for file in resumed.adapter.files] == [file.sha256 for file in whole.adapter.files]


def test_micro_batches_do_not_change_the_loss(store: Store, new_context: Callable[..., JobContext]) -> None:
    curves = []
    for size in (1, 3):
        request = train_request(store, synthesized_records(3), None, epochs=2, batch_size=3, micro_batch_size=size)
        curves.append(curve(store, train(new_context(str(size) * 64), request, CONFIG)))

    for one, three in zip(*curves, strict=True):
        assert one["loss"] == pytest.approx(three["loss"], abs=2e-4)


def test_gradient_checkpointing_does_not_change_the_loss(store: Store, new_context: Callable[..., JobContext]) -> None:
    curves = []
    for key, checkpointing in (("a" * 64, False), ("b" * 64, True)):
        records = synthesized_records(2)
        request = train_request(
            store, records, None, epochs=3, precision="bfloat16", gradient_checkpointing=checkpointing
        )
        curves.append(curve(store, train(new_context(key), request, CONFIG)))

    for plain, checkpointed in zip(*curves, strict=True):
        assert plain["loss"] == pytest.approx(checkpointed["loss"], abs=1e-6)


def test_the_best_weights_by_tuning_loss_are_kept(store: Store, new_context: Callable[..., JobContext]) -> None:
    # A rate this high ruins the student after a while.
    request = train_request(
        store,
        synthesized_records(4),
        synthesized_records(1, seed=9),
        epochs=4,
        learning_rate=0.5,
        schedule="constant",
        warmup_fraction=0.0,
    )

    result = train(new_context(), request, CONFIG)

    measured = {row["step"]: row["tuning_loss"] for row in curve(store, result) if "tuning_loss" in row}
    assert result.best_tuning_loss == min(measured.values())
    assert measured[result.best_step] == result.best_tuning_loss


def test_progress_tells_loss_speed_and_time_left(store: Store, new_context: Callable[..., JobContext]) -> None:
    seen: list[Progress] = []
    request = train_request(store, synthesized_records(4), synthesized_records(1, seed=9), epochs=1)

    train(
        new_context(on_progress=lambda progress: seen.append(Progress.FromString(progress.SerializeToString()))),
        request,
        CONFIG,
    )

    steps = [progress for progress in seen if progress.done]
    assert {progress.total for progress in steps} == {2}
    assert steps[0].message == "epoch 1 of 1"
    assert steps[0].figures["tokens_per_second"] > 0
    assert steps[0].eta_seconds > 0
    assert steps[-1].eta_seconds == 0
    assert {"loss", "tuning_loss", "learning_rate"} <= set(steps[-1].figures)


def test_progress_tells_how_many_tuning_rows_are_evaluated(
    store: Store, new_context: Callable[..., JobContext]
) -> None:
    seen: list[str] = []
    tuning = synthesized_records(3, seed=9)
    request = train_request(store, synthesized_records(2), tuning, epochs=1, micro_batch_size=1)

    train(new_context(on_progress=lambda progress: seen.append(progress.message)), request, CONFIG)

    assert [message for message in seen if "tuning" in message] == [
        f"evaluating tuning rows {row} of 3" for row in range(3)
    ]
    assert seen[-1] == "epoch 1 of 1"


def test_a_tampered_checkpoint_is_noticed(store: Store, new_context: Callable[..., JobContext], tmp_path: Path) -> None:
    request = train_request(store, synthesized_records(4), None)
    stop_after(1, new_context, request)
    checkpoint = new_context().read_checkpoint()
    assert checkpoint is not None
    weights = next(item for item in checkpoint["artifacts"] if item["name"] == "weights.safetensors")
    blob = tmp_path / "store" / "runs" / ("a" * 64) / "checkpoint" / f"{checkpoint['files']}-{weights['sha256']}"
    blob.write_bytes(blob.read_bytes()[:-4] + b"evil")

    with pytest.raises(DataLoss, match=weights["sha256"][:12]):
        train(new_context(), request, CONFIG)


def test_a_checkpoint_without_its_fields_says_what_to_delete(
    store: Store, new_context: Callable[..., JobContext]
) -> None:
    new_context().write_checkpoint({"step": 3})

    with pytest.raises(DataLoss, match=f"delete runs/{'a' * 64}/"):
        train(new_context(), train_request(store, synthesized_records(1), None), CONFIG)


def test_a_loss_that_is_no_number_names_the_learning_rate(
    store: Store, new_context: Callable[..., JobContext], tmp_path: Path
) -> None:
    request = train_request(store, synthesized_records(1), None)
    weights = next(file for file in request.base.files if file.name == "model.safetensors")
    tensors = load_file(store.fetch(weights, tmp_path / "sound.safetensors"))
    tensors["model.norm.weight"][:] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    weights.CopyFrom(store.put_file(tmp_path / "model.safetensors", name=weights.name))

    with pytest.raises(FailedPrecondition, match=r"the loss is nan at step 1; lower training.learning_rate"):
        train(new_context(), request, CONFIG)


def test_an_unknown_target_module_is_refused_by_its_name(store: Store, new_context: Callable[..., JobContext]) -> None:
    request = train_request(store, synthesized_records(1), None, target_modules=("w_pack",))

    with pytest.raises(InvalidArgument, match="w_pack") as caught:
        train(new_context(), request, CONFIG)

    assert caught.value.field == "lora.target_modules"


def test_another_version_of_the_role_is_refused(store: Store, new_context: Callable[..., JobContext]) -> None:
    request = train_request(store, synthesized_records(1), None)
    request.role.version += 1

    with pytest.raises(FailedPrecondition, match="version"):
        train(new_context(), request, CONFIG)


def test_an_empty_data_set_is_refused(store: Store, new_context: Callable[..., JobContext]) -> None:
    with pytest.raises(FailedPrecondition, match="no records"):
        train(new_context(), train_request(store, [], None), CONFIG)
