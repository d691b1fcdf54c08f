"""Builds a data set for `stillhouse dataset import`: the dataset stage run as a Job over local files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from rich.console import Console

from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult, DatasetImport

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.roles.role import Role
    from stillhouse.v1.artifact_pb2 import Artifact


@dataclass(frozen=True)
class ImportOptions:
    """What the command's options say."""

    rows: tuple[Path, ...]
    validation: Path | None
    min_score: float
    guards: tuple[str, ...]
    model: str
    seed: int
    train_fraction: float
    min_records: int


def build(store: Store, role: Role, options: ImportOptions, *, screen: Console) -> BuildDatasetResult:
    """The built data set. Raises NotFound for a missing file and what the stage raises."""
    from stillhouse.cli.jobs import run_stage
    from stillhouse.stages import DATASET
    from stillhouse.v1.common_pb2 import RoleReference

    held_out = None if options.validation is None else _put(store, options.validation)
    rest = 1 - options.train_fraction
    request = BuildDatasetRequest(
        role=RoleReference(name=role.name, version=role.version),
        imports=[DatasetImport(rows=_put(store, path), model=options.model) for path in options.rows],
        validation=held_out,
        guards=options.guards,
        min_score=options.min_score,
        train_fraction=options.train_fraction,
        validation_fraction=0.0 if held_out is not None else round(rest / 2, 9),
        seed=options.seed,
        min_records=options.min_records,
    )
    return run_stage(store, DATASET, request, BuildDatasetResult, screen=screen)


def deliver(store: Store, result: BuildDatasetResult, output: Path, *, json_output: bool) -> None:
    """Writes the files and says what became of the rows."""
    from stillhouse.cli.dataset_tables import show_statistics
    from stillhouse.cli.files import fetch_files, write_json
    from stillhouse.cli.tables import console, print_json, rows_table

    fetch_files(store, [result.train, result.tuning, result.validation, result.refused], output)
    document: dict[str, Any] = json_format.MessageToDict(result.statistics)
    write_json(output / "statistics.json", document)
    if json_output:
        print_json(document)
        return
    screen = console()
    show_statistics(screen, document)
    files = [
        ["train.jsonl", str(result.train_records)],
        ["tuning.jsonl", str(result.tuning_records)],
        ["validation.jsonl", str(result.validation_records)],
    ]
    screen.print(rows_table(["file", "records"], files))
    screen.print(f"written to {output}", markup=False, soft_wrap=True)


def _put(store: Store, path: Path) -> Artifact:
    from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
    from stillhouse.cli.files import existing_file

    return store.put_file(existing_file(path), name=path.name, media_type=JSONL_MEDIA_TYPE)
