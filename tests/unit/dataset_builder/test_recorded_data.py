"""The recorded Product Owner data: contaminated rows leave, clean ones stay. Skipped where the data is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from job_contexts import job_context
from stillhouse.artifacts.store import Store
from stillhouse.dataset.files import check_contamination
from stillhouse.dataset.importing import read_candidates
from stillhouse.dataset.lines import lines_of
from stillhouse.dataset.records import read_records
from stillhouse.dataset_builder.building import build
from stillhouse.roles.role import load_role
from stillhouse.roles.scoring import score_rows
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, DatasetImport

DATA = Path(__file__).parents[3] / "../shared/data/product_owner"

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"the recorded data is not at {DATA}")


def test_the_48_contaminated_records_are_refused_and_most_clean_ones_stay(tmp_path: Path) -> None:
    role = load_role("product_owner")
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "workspace").mkdir()
    request = BuildDatasetRequest(
        role=RoleReference(name=role.name, version=role.version),
        imports=[
            DatasetImport(
                rows=store.put_file(DATA / "teacher_records.jsonl", name="teacher_records.jsonl"), model="gemini"
            )
        ],
        validation=store.put_file(DATA / "validation.jsonl", name="validation.jsonl"),
        guards=role.guard_names,
        min_score=0.8,
        train_fraction=0.85,
        seed=42,
        min_records=200,
        min_mean_score=0.8,
    )
    result = build(job_context(store, tmp_path / "workspace"), request)
    assert result.rows_read == 319
    assert result.refused_by_reason["contaminated"] == 48
    assert result.refused_by_reason["unparsable"] == 0
    kept = result.train_records + result.tuning_records
    assert 230 <= kept <= 271
    assert kept + sum(result.refused_by_reason.values()) == 319
    assert result.validation_records == 34
    assert result.scores.mean > 0.9
    statistics = MessageToDict(result.statistics)
    assert result.teacher_scores.count == 271
    assert result.teacher_scores.mean == pytest.approx(0.899, abs=0.001)
    assert statistics["near_duplicates"]["validation_groups"] == 8
    groups = {
        name: {role.group_key(record.inputs) for record in _records(store, artifact)}
        for name, artifact in {"train": result.train, "tuning": result.tuning, "validation": result.validation}.items()
    }
    assert not groups["train"] & groups["tuning"]
    assert not (groups["train"] | groups["tuning"]) & groups["validation"]
    assert abs(len(groups["train"]) - 0.85 * (len(groups["train"]) + len(groups["tuning"]))) <= 1


def test_the_check_finds_the_same_overlap_in_the_files() -> None:
    role = load_role("product_owner")
    report = check_contamination(DATA / "teacher_records.jsonl", DATA / "validation.jsonl", role)
    assert (report.rows, report.exact_rows, len(report.exact_groups)) == (319, 48, 26)
    assert report.validation_rows == 34
    assert report.near_pairs


def test_recorded_scores_of_the_validation_rows_are_reproduced() -> None:
    role = load_role("product_owner")
    lines = (DATA / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    for line, row in zip(_flat(DATA / "validation.jsonl", role), score_rows(role, lines, source="v"), strict=True):
        assert row["score"] == pytest.approx(line.score, abs=1e-9)


def _flat(path: Path, role):
    return read_candidates(lines_of(path), source=path.name, shape=role, answered=False)


def _records(store: Store, artifact):
    return read_records(store.read_bytes(artifact).decode().splitlines(), source=artifact.name)
