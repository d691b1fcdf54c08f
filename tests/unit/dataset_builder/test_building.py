"""Data sets built from rows in a store: what becomes of each row, the bytes, the figures and the refusals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from job_contexts import job_context
from quiz_role import QuizRole
from stillhouse.artifacts.store import Store
from stillhouse.dataset.records import DataRecord, read_records
from stillhouse.dataset_builder.building import build_for
from stillhouse.errors import Cancelled, DataLoss, FailedPrecondition, InvalidArgument
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import BalanceTarget, BuildDatasetRequest, BuildDatasetResult, DatasetImport

ROLE = QuizRole()


def answer(number: int, **fields: object) -> dict[str, object]:
    return {"question": f"question {number}", "answer": f"the answer {number}", "comment": "c", **fields}


@dataclass
class Bench:
    """A store and scratch space to build in."""

    folder: Path
    store: Store
    reports: list[dict[str, object]] = field(default_factory=list)
    builds: int = 0

    def put(self, name: str, *rows: dict[str, object]) -> Artifact:
        return self.store.put_bytes("".join(json.dumps(row) + "\n" for row in rows).encode(), name=name)

    def request(self, *imports: Artifact, **fields: object) -> BuildDatasetRequest:
        wanted = {"train_fraction": 0.5, "seed": 42, "min_records": 1, "guards": ROLE.guard_names, **fields}
        return BuildDatasetRequest(
            role=RoleReference(name=ROLE.name, version=ROLE.version),
            imports=[DatasetImport(rows=rows) for rows in imports],
            **wanted,
        )

    def build(self, request: BuildDatasetRequest, *, stopped: bool = False) -> BuildDatasetResult:
        self.builds += 1
        workspace = self.folder / f"workspace-{self.builds}"
        workspace.mkdir()
        context = job_context(self.store, workspace, on_progress=self._took)
        if stopped:
            context.stopping.set()
        return build_for(ROLE, context, request)

    def _took(self, progress) -> None:
        self.reports.append(MessageToDict(progress, preserving_proto_field_name=True))

    def records(self, artifact: Artifact) -> list[DataRecord]:
        return list(read_records(self.store.read_bytes(artifact).decode().splitlines(), source=artifact.name))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, Store.open(str(tmp_path / "store")))


def test_rows_become_train_and_tuning_records_split_by_group(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", *[answer(number // 2, comment=f"c{number}") for number in range(20)])
    validation = bench.put("held-out.jsonl", {"question": "another question", "concept_id": "Q-1", "score": 0.5})
    result = bench.build(bench.request(rows, validation=validation))
    train, tuning = bench.records(result.train), bench.records(result.tuning)
    assert (result.train_records, result.tuning_records, result.validation_records) == (10, 10, 1)
    assert (len(train), len(tuning)) == (10, 10)
    assert not {record.inputs["question"] for record in train} & {record.inputs["question"] for record in tuning}
    assert bench.records(result.validation) == [
        DataRecord({"question": "another question"}, {}, None, 0.5, {"concept_id": "Q-1"})
    ]
    assert (result.train.name, result.tuning.name) == ("train.jsonl", "tuning.jsonl")


def test_without_a_validation_set_part_of_the_groups_is_held_out(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", *[answer(number) for number in range(20)])
    result = bench.build(bench.request(rows, train_fraction=0.7, validation_fraction=0.15))
    assert (result.train_records, result.tuning_records, result.validation_records) == (14, 3, 3)
    assert result.scores.count == 17
    assert result.statistics["validation_scores"]["count"] == 3


def test_the_same_request_gives_the_same_bytes(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", *[answer(number // 3, comment=f"{number}", model="m") for number in range(30)])
    request = bench.request(rows, train_fraction=0.6, validation_fraction=0.2)
    one, other = bench.build(request), bench.build(request)
    assert one == other
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    digests = [one.train.sha256, one.tuning.sha256, one.validation.sha256, one.refused.sha256]
    assert hashlib.sha256("".join(digests).encode()).hexdigest()[:16] == "896f344f99b78d47"


def test_every_row_is_kept_or_refused_once_with_its_reason(bench: Bench) -> None:
    rows = bench.put(
        "rows.jsonl",
        answer(1),
        answer(1),
        answer(1, comment="second"),
        answer(2, answer="low"),
        answer(3, answer="SHOUTING THIS"),
        {"question": "question 4", "response": "sorry"},
        answer(5, question="Held  OUT"),
        answer(6, question="held out", answer="low"),
        answer(7),
    )
    validation = bench.put("held-out.jsonl", {"question": "held out"})
    result = bench.build(bench.request(rows, validation=validation, min_score=0.5))
    assert dict(result.refused_by_reason) == {
        "contaminated": 2,
        "duplicate": 1,
        "low_score": 1,
        "shouting": 1,
        "unparsable": 1,
    }
    assert result.rows_read == 9
    assert result.train_records + result.tuning_records == 3
    refused = [json.loads(line) for line in bench.store.read_bytes(result.refused).decode().splitlines()]
    assert [(row["line"], row["reason"]) for row in refused] == [
        (2, "duplicate"), (4, "low_score"), (5, "shouting"), (6, "unparsable"), (7, "contaminated"), (8, "contaminated")
    ]  # fmt: skip
    assert refused[3]["details"] == ["no answer and comment"]
    assert refused[0]["file"] == "rows.jsonl"


def test_progress_tells_what_was_kept_refused_and_contaminated(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", *[answer(number) for number in range(30)])
    bench.build(bench.request(rows, validation=bench.put("held-out.jsonl", answer(3))))
    last = bench.reports[-1]
    assert (last["stage"], last["unit"], last["done"], last["total"]) == ("dataset", "rows", "30", "30")
    assert last["figures"]["kept"] == 29
    assert last["figures"]["contaminated"] == 1
    assert "30 read, 1 contaminated, 29 kept" in last["message"]


def test_the_imports_model_labels_rows_that_name_none(bench: Bench) -> None:
    request = bench.request(bench.put("rows.jsonl", answer(1), answer(2, model="own")), train_fraction=1)
    request.imports[0].model = "teacher"
    result = bench.build(request)
    assert [record.labels["model"] for record in bench.records(result.train)] == ["teacher", "own"]
    assert set(MessageToDict(result.statistics)["by_label"]["model"]) == {"teacher", "own"}


def test_statistics_hold_labels_thresholds_and_the_scores_of_the_answers_as_they_came(bench: Bench) -> None:
    rows = [answer(number, answer=" " * 5 + "x" * 5, tier="simple") for number in range(4)]
    result = bench.build(bench.request(bench.put("rows.jsonl", *rows, answer(9, answer="xx", tier="simple"))))
    statistics = MessageToDict(result.statistics)
    assert statistics["by_label"]["tier"]["simple"]["count"] == 5
    assert statistics["answered_scores"]["max"] == 1.0
    assert statistics["scores"]["max"] == 0.5
    assert statistics["by_threshold"][0] == {"threshold": 0.5, "count": 4.0, "mean": 0.5}
    assert statistics["kept"] == 5


def test_near_duplicates_are_reported_and_labelled_and_stay(bench: Bench) -> None:
    near = "a loan platform for small teams in the north of spain"
    rows = bench.put("rows.jsonl", answer(1, question=near + " today"), answer(2))
    validation = bench.put("held-out.jsonl", {"question": near}, {"question": "far away"})
    result = bench.build(bench.request(rows, validation=validation))
    assert result.train_records + result.tuning_records == 2
    found = MessageToDict(result.statistics)["near_duplicates"]
    assert (found["groups"], found["validation_groups"]) == (1, 1)
    assert found["pairs"] == [{"data": near + " today", "validation": near, "similarity": 11 / 12}]
    assert [record.labels for record in bench.records(result.validation)] == [{"near_duplicate": "true"}, {}]


def test_balance_sets_surplus_records_aside(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", *[answer(number, tier="simple") for number in range(5)])
    request = bench.request(rows, balance=[BalanceTarget(label="tier", value="simple", max_records=3)])
    assert bench.build(request).refused_by_reason["balance"] == 2


def test_too_few_records_fail_with_the_figures_and_the_funnel(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", answer(1), answer(2), answer(2))
    with pytest.raises(FailedPrecondition, match=r"2 records .* min_records 3 \(3 read, 1 duplicate, 2 kept\)"):
        bench.build(bench.request(rows, min_records=3))
    with pytest.raises(FailedPrecondition, match=r"0 records .* \(0 read, 0 kept\)"):
        bench.build(bench.request(bench.put("empty.jsonl"), min_records=0))


def test_a_mean_that_is_too_low_fails_with_the_figures_and_the_funnel(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", answer(1, answer="xxxx"), answer(2, answer="xxxxxx"))
    with pytest.raises(FailedPrecondition, match=r"mean score 0\.5000 of 2 records .* min_mean_score 0\.8 \(2 read"):
        bench.build(bench.request(rows, min_mean_score=0.8))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"guards": ["no_such"]}, "guards"),
        ({"min_score": 1.5}, "min_score"),
        ({"min_mean_score": -0.5}, "min_mean_score"),
        ({"min_records": -1}, "min_records"),
        ({"train_fraction": 0.0}, "train_fraction"),
        ({"train_fraction": 0.9, "validation_fraction": 0.2}, "validation_fraction"),
        ({"metric": "no_such_module:metric"}, "metric"),
        ({"balance": [BalanceTarget(label="tier", value="x")]}, "balance"),
        ({"balance": [BalanceTarget(label="tier", value="x", max_records=1)] * 2}, "balance"),
        ({"imports": []}, "imports"),
    ],
)
def test_a_wrong_option_is_refused_and_its_field_named(bench: Bench, fields: dict[str, object], named: str) -> None:
    request = bench.request(bench.put("rows.jsonl", answer(1)), **{k: v for k, v in fields.items() if k != "imports"})
    if "imports" in fields:
        request.ClearField("imports")
    with pytest.raises(InvalidArgument) as caught:
        bench.build(request)
    assert caught.value.field == named


def test_another_version_of_the_role_is_refused(bench: Bench) -> None:
    request = bench.request(bench.put("rows.jsonl", answer(1)))
    request.role.version = 2
    with pytest.raises(FailedPrecondition, match="version 2 of role 'quiz', installed is 3"):
        bench.build(request)


def test_a_corrupt_row_is_named_by_file_and_line(bench: Bench) -> None:
    broken = bench.store.put_bytes(json.dumps(answer(1)).encode() + b'\n{"question": "q\n', name="broken.jsonl")
    with pytest.raises(InvalidArgument, match=r"broken\.jsonl:2 is not JSON"):
        bench.build(bench.request(broken))
    latin = bench.store.put_bytes(b'{"question": "\xe9"}\n', name="latin.jsonl")
    with pytest.raises(InvalidArgument, match=r"latin\.jsonl:1 is not UTF-8"):
        bench.build(bench.request(latin))


def test_an_empty_validation_set_is_refused(bench: Bench) -> None:
    request = bench.request(bench.put("rows.jsonl", answer(1)), validation=bench.put("held-out.jsonl"))
    with pytest.raises(FailedPrecondition, match=r"held-out\.jsonl holds no row"):
        bench.build(request)


def test_a_tampered_blob_is_data_loss_and_not_a_broken_row(bench: Bench) -> None:
    rows = bench.put("rows.jsonl", answer(1))
    (blob,) = [path for path in (bench.folder / "store").rglob(f"*{rows.sha256}*") if path.is_file()]
    blob.chmod(0o644)
    blob.write_bytes(b"{" * blob.stat().st_size)
    with pytest.raises(DataLoss, match=rows.sha256[:12]):
        bench.build(bench.request(rows))


def test_a_build_that_is_told_to_stop_stops(bench: Bench) -> None:
    with pytest.raises(Cancelled):
        bench.build(bench.request(bench.put("rows.jsonl", answer(1))), stopped=True)
