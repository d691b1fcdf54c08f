"""A store with builtin:tiny in it and requests to train it, for tests of the trainer; they skip without the wheel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exported_tiny import tiny_base
from stillhouse.artifacts.store import Store
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.roles.role import load_role
from stillhouse.spec.presets import resolve
from stillhouse.trainer.bases import base_files
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.trainer_pb2 import Lora, Training, TrainRequest

ROLE = "product_owner"


def synthesized_records(count: int, *, seed: int = 5) -> list[DataRecord]:
    """Inputs of the role's synthesizer with its scripted author's answers."""
    role = load_role(ROLE)
    return [
        DataRecord(example.inputs, role.canonical(role.parse(role.author(example, seed=seed)).outputs))
        for example in role.examples(count=count, seed=seed)
    ]


def put_records(store: Store, records: list[DataRecord], name: str) -> Artifact:
    """The records as a data set in the store."""
    return store.put_bytes("".join(write_record(record) for record in records).encode(), name=name)


def put_tiny_base(store: Store) -> ArtifactSet:
    """builtin:tiny in the store, as PrepareBase puts it there."""
    return ArtifactSet(files=[store.put_file(path, name=path.name) for path in base_files(tiny_base())])


def train_request(
    store: Store, train: list[DataRecord], tuning: list[DataRecord] | None, **overrides: Any
) -> TrainRequest:
    """A request over builtin:tiny: fp32, a high rate, small LoRA, unless `overrides` (Recipe fields) say otherwise."""
    small: Mapping[str, Any] = {"rank": 4, "alpha": 8, "target_modules": ("all-linear",), "precision": "float32"}
    recipe = resolve(None, {**small, "learning_rate": 5e-3, "epochs": 1, "batch_size": 2, **overrides})
    lora = {field.name: getattr(recipe, field.name) for field in Lora.DESCRIPTOR.fields}
    training = {field.name: getattr(recipe, field.name) for field in Training.DESCRIPTOR.fields}
    return TrainRequest(
        role=RoleReference(name=ROLE, version=load_role(ROLE).version),
        base=put_tiny_base(store),
        train=put_records(store, train, "train.jsonl"),
        tuning=put_records(store, tuning, "tuning.jsonl") if tuning is not None else None,
        lora=Lora(**lora),
        training=Training(**training),
        store_uri=store.uri,
    )


def one_thread() -> dict[str, Any]:
    """Settings of a TrainerConfig for a test."""
    return {"cache_directory": Path("unused"), "threads": 1}
