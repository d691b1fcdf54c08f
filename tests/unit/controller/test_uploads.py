"""What a spec names on this machine goes into the store, and the spec says digests instead."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from stillhouse.artifacts.collect import collect
from stillhouse.artifacts.store import Store
from stillhouse.controller.inputs import bring_in
from stillhouse.controller.runs import list_runs
from stillhouse.controller.uploads import Upload, document_of, local_sources, remember, upload
from stillhouse.errors import DataLoss, NotFound
from stillhouse.spec.loading import parse_distillation
from stillhouse.spec.models import Distillation

FILES = {"rows.jsonl": b"rows\n", "stage.jsonl": b"stage\n", "concepts.jsonl": b"concepts\n", "held.jsonl": b"held\n"}
TRIED = {"demos.jsonl": b"demos\n", "tried.jsonl": b"tried\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def store() -> Store:
    return Store.open(f"memory://{uuid.uuid4().hex}")


def distillation(**changes: Any) -> Distillation:
    spec: dict[str, Any] = {
        "role": "product_owner",
        "dataset": {
            "imports": [{"uri": "rows.jsonl"}, {"uri": "s3://elsewhere/rows.jsonl"}, {"synthesized": {"count": 3}}],
            "concepts": {"uri": "concepts.jsonl"},
            "teacher": {"stages": [{"import": {"uri": "stage.jsonl"}}, {"provider": "emulator"}]},
            "validation": {"uri": "held.jsonl"},
        },
        "student": {"base": "./base"},
        "evaluation": {"gates": {"minScore": "None"}},
    }
    document = {"apiVersion": "stillhouse.dev/v1alpha1", "kind": "Distillation", "metadata": {"name": "demo"}}
    return parse_distillation({**document, "spec": spec | changes}, source="test")


def uploaded(made: Distillation, store: Store, folder: Path) -> list[Upload]:
    return [upload(source, store) for source in local_sources(made.spec, folder)]


def test_every_local_input_is_named_by_its_digest_and_nothing_else_changes(folder: Path, store: Store) -> None:
    made = distillation()
    document = document_of(made, uploaded(made, store, folder))
    named = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in FILES.items()}
    dataset = document["spec"]["dataset"]
    assert dataset["imports"] == [
        {"uri": named["rows.jsonl"]},
        {"uri": "s3://elsewhere/rows.jsonl"},
        {"synthesized": {"count": 3}},
    ]
    assert dataset["teacher"]["stages"] == [{"import": {"uri": named["stage.jsonl"]}}, {"provider": "emulator"}]
    assert dataset["concepts"] == {"uri": named["concepts.jsonl"]}
    assert dataset["validation"] == {"uri": named["held.jsonl"]}
    assert document["spec"]["evaluation"] == {"gates": {"minScore": "None"}}
    assert "export" not in document["spec"]


def test_a_cluster_brings_in_the_same_inputs_without_files(folder: Path, store: Store) -> None:
    dataset = {
        "imports": [{"uri": "rows.jsonl"}],
        "validation": {"uri": str(folder / "held.jsonl")},
    }
    made = distillation(dataset=dataset)
    there = parse_distillation(document_of(made, uploaded(made, store, folder)), source="there")
    here, cluster = bring_in(made.spec, store, directory=folder), bring_in(there.spec, store, directory=None)
    assert [artifact.sha256 for artifact in cluster.imports] == [artifact.sha256 for artifact in here.imports]
    assert cluster.validation is not None
    assert here.validation is not None
    assert cluster.validation.sha256 == here.validation.sha256
    assert cluster.base_directory == here.base_directory


def test_rows_of_an_optimization_go_along(folder: Path, store: Store) -> None:
    for name, data in TRIED.items():
        (folder / name).write_bytes(data)
    made = distillation(
        dataset={"imports": [{"synthesized": {"count": 3}}]},
        optimization={"train": {"uri": "demos.jsonl"}, "validation": {"uri": "tried.jsonl"}},
    )
    document = document_of(made, uploaded(made, store, folder))
    named = {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in TRIED.items()}
    assert document["spec"]["optimization"] == {
        "train": {"uri": named["demos.jsonl"]},
        "validation": {"uri": named["tried.jsonl"]},
    }
    inputs = bring_in(parse_distillation(document, source="there").spec, store, directory=None)
    brought = (inputs.optimization_train, inputs.optimization_validation)
    assert [store.read_bytes(rows) for rows in brought if rows is not None] == list(TRIED.values())


def test_what_was_uploaded_is_spared_by_the_collector(folder: Path, store: Store) -> None:
    made = distillation()
    remember(store, "team.demo", uploaded(made, store, folder))
    assert collect(store, older_than_seconds=0, dry_run=True).blobs == 0
    store.delete_object("distillations/team.demo/uploads.json")
    assert collect(store, older_than_seconds=0, dry_run=True).blobs == len(FILES) + 3  # two files and their list


def test_uploads_alone_are_no_run(folder: Path, store: Store) -> None:
    remember(store, "team.demo", [])
    assert json.loads(store.read_object("distillations/team.demo/uploads.json") or b"") == {"uploads": []}
    assert list_runs(store) == []


@pytest.mark.parametrize(
    ("dataset", "error", "said"),
    [
        ({"imports": [{"uri": "none.jsonl"}]}, NotFound, r"spec.dataset.imports\[0\].uri: .*none.jsonl does not exist"),
        ({"imports": [{"uri": "rows.jsonl", "sha256": "0" * 64}]}, DataLoss, "the spec says 0000"),
    ],
)
def test_what_cannot_be_uploaded_is_named(
    folder: Path, store: Store, dataset: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        uploaded(distillation(dataset=dataset), store, folder)


def test_a_base_that_is_no_model_is_named(folder: Path, store: Store) -> None:
    (folder / "base" / "config.json").unlink()
    with pytest.raises(NotFound, match=r"spec.student.base: ./base is no Hugging Face directory"):
        uploaded(distillation(), store, folder)
