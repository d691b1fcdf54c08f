"""A finished run with a teacher in a store, made of the messages and documents that the stages write, without them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message

from report_calls import STARTED, calls
from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import status_path
from stillhouse.dataset.lines import json_line
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.evaluator.figures import RowResult, evaluation_of
from stillhouse.evaluator.gates import Comparison, decide, gap
from stillhouse.evaluator.summary import Subject, comparison_document, json_bytes, row_document, summary_document
from stillhouse.roles.role import Example, load_role
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult, DatasetImport
from stillhouse.v1.evaluator_pb2 import EvaluateRequest, EvaluateResult, Gate
from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult
from stillhouse.v1.record_pb2 import ScoreStatistics
from stillhouse.v1.teacher_generator_pb2 import (
    GenerateRecordsRequest,
    GenerateRecordsResult,
    StageOutcome,
    TeacherStage,
)
from stillhouse.v1.teacher_pb2 import TeacherModel
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult, TrainRequest, TrainResult

NAME = "orchard"
HOSTILE = "<script>document.title = 'stolen'</script><img src=x onerror=alert(1)>"
SPEC: dict[str, Any] = {
    "role": "product_owner",
    "dataset": {
        "concepts": {"synthesized": {"count": 60, "seed": 7}},
        "teacher": {
            "stages": [
                {"provider": "emulator", "model": "gemini-2.5-pro", "minScore": "0.80"},
                {"provider": "emulator", "model": "gemini-2.5-flash", "minScore": "0.80"},
            ]
        },
        "imports": [],
    },
    "student": {"base": "builtin:smollm2-135m-instruct"},
}


@dataclass
class Writer:
    """Puts artifacts and manifests into a store as stages do."""

    store: Store
    steps: list[dict[str, str]]
    minutes: int = 0

    def lines(self, name: str, lines: Sequence[str]) -> Artifact:
        return self.store.put_bytes("".join(lines).encode(), name=name, media_type="application/jsonl")

    def file(self, name: str) -> Artifact:
        return self.store.put_bytes(f"the bytes of {name}".encode(), name=name)

    def commit(self, name: str, stage: str, request: Message, result: Message, *, seconds: float) -> None:
        self.minutes += 5
        key = hashlib.sha256(f"{name} {stage}".encode()).hexdigest()
        manifest = Manifest(stage=stage, key=key, logic_version=1, stillhouse_version="0.1.0", seconds=seconds)
        manifest.request.Pack(request)
        manifest.result.Pack(result)
        manifest.create_time.FromDatetime(STARTED + timedelta(minutes=self.minutes))
        self.store.commit_manifest(manifest)
        self.steps.append({"name": name, "stage": stage, "key": key, "state": "done", "message": ""})

    def waits(self, name: str, stage: str, after: str) -> None:
        self.steps.append({"name": name, "stage": stage, "key": "", "state": "waiting", "message": after})

    def finish(self, outcome: str, spec: Mapping[str, Any] = SPEC) -> None:
        record = {
            "distillation": {"metadata": {"name": NAME}, "spec": spec},
            "steps": self.steps,
            "outcome": outcome,
            "updated": "2026-11-23T16:00:00+00:00",
        }
        self.store.put_object(status_path(NAME), json.dumps(record).encode())


def generate(writer: Writer, lines: Sequence[Mapping[str, Any]]) -> int:
    """The generate stage; returns how many records it made."""
    records = sum(line["accepted"] for line in lines)
    stage = TeacherStage(
        name="flash", teacher=TeacherModel(provider="emulator", model="gemini-2.5-flash"), min_score=0.8, records=60
    )
    result = GenerateRecordsResult(
        records=writer.file("records.jsonl"),
        calls=writer.lines("calls.jsonl", [json_line(line) for line in lines]),
        dead_letters=writer.file("dead_letters.jsonl"),
        record_count=records,
        cost_usd=sum(line["cost_usd"] for line in lines),
        stages=[StageOutcome(name="flash", accepted=records, attempted=records + 4, ended="target reached")],
    )
    request = GenerateRecordsRequest(concepts=writer.file("concepts.jsonl"), stages=[stage])
    writer.commit("generate", "generate", request, result, seconds=280.0)
    return records


def examples(count: int) -> list[Example]:
    return list(load_role("product_owner").examples(count=count, seed=11, planted=0.6))


def records_of(given: Sequence[Example], *, seed: int) -> list[DataRecord]:
    role = load_role("product_owner")
    made = []
    for example in given:
        answer = role.author(example, seed=seed)
        outputs = role.canonical(role.parse(answer).outputs)
        labels = {**example.labels, "model": "gemini-2.5-flash"}
        score = role.score(example.inputs, outputs).score
        made.append(DataRecord(example.inputs, outputs, answer, score, labels))
    return made


def dataset(writer: Writer, read: int) -> BuildDatasetResult:
    """The data set of synthesized records; twelve of them are held out."""
    made = [write_record(record) for record in records_of(examples(36), seed=1)]
    scores = ScoreStatistics(count=48, mean=0.931, median=0.93, min=0.83, max=1.0, std=0.041)
    result = BuildDatasetResult(
        train=writer.lines("train.jsonl", made[:18]),
        tuning=writer.lines("tuning.jsonl", made[18:24]),
        validation=writer.lines("validation.jsonl", made[24:]),
        refused=writer.file("refused.jsonl"),
        train_records=18,
        tuning_records=6,
        validation_records=12,
        rows_read=read,
        refused_by_reason={"duplicate": 2, "contaminated": 1, "low_score": read - 39},
        scores=scores,
        teacher_scores=scores,
    )
    request = BuildDatasetRequest(imports=[DatasetImport(rows=writer.file("records.jsonl"))], min_score=0.8)
    writer.commit("dataset", "dataset", request, result, seconds=1.2)
    return result


def train(writer: Writer, data: BuildDatasetResult) -> TrainResult:
    """Base and training, with a loss curve of sixty steps."""
    base = ArtifactSet(files=[writer.file("model.safetensors"), writer.file("tokenizer.json")])
    prepared = PrepareBaseResult(
        base=base, parameters=134_515_008, license="apache-2.0", architecture="LlamaForCausalLM"
    )
    writer.commit("base", "base", PrepareBaseRequest(name="builtin:smollm2-135m-instruct"), prepared, seconds=6.4)
    curve = []
    for step in range(1, 61):
        row: dict[str, Any] = {"step": step, "loss": 2.2 / step**0.4, "learning_rate": 3e-4, "tokens": 3000 * step}
        if step % 15 == 0:
            row["tuning_loss"] = 2.3 / step**0.4
        curve.append(json_line(row))
    result = TrainResult(
        adapter=ArtifactSet(files=[writer.file("adapter_model.safetensors")]),
        final_train_loss=0.43,
        best_tuning_loss=0.447,
        best_step=60,
        steps=60,
        trained_tokens=180_000,
        loss_curve=writer.lines("loss_curve.jsonl", curve),
        device="cpu",
        precision="bfloat16",
    )
    writer.commit(
        "train", "train", TrainRequest(base=base, train=data.train, tuning=data.tuning), result, seconds=501.0
    )
    return result


def export(writer: Writer, training: TrainResult) -> ExportResult:
    result = ExportResult(
        model=writer.file("student.Q8_0.gguf"),
        modelfile=writer.file("Modelfile"),
        quantization="Q8_0",
        parity_probes=405,
        kl_divergence_f16=5.5e-7,
        kl_divergence_quantized=8.4e-4,
        kl_positions=48,
    )
    writer.commit("export", "export", ExportRequest(adapter=training.adapter), result, seconds=120.0)
    return result


def results_of(records: Sequence[DataRecord], *, seconds: float) -> list[RowResult]:
    """Every record's answer as a row of an evaluation."""
    role = load_role("product_owner")
    return [
        RowResult(
            row_id=hashlib.sha256(record.inputs["concept"].encode()).hexdigest()[:16],
            inputs=record.inputs,
            labels=record.labels,
            answer=record.response or "",
            outputs=record.outputs,
            score=role.score(record.inputs, record.outputs).score,
            valid=True,
            detections=role.detections(record.labels, record.outputs),
            seconds=seconds + index / 10,
            prompt_tokens=464,
            completion_tokens=382,
            finish_reason="stop",
        )
        for index, record in enumerate(records)
    ]


def student_results() -> list[RowResult]:
    """Other answers than the teacher's; the worst holds markup instead of an answer."""
    results = results_of(records_of(examples(36)[24:], seed=2), seconds=4.0)
    spoilt = replace(
        results[5],
        answer=f"```yaml VISION\n{HOSTILE}\n",
        outputs={},
        score=0.12,
        valid=False,
        problems=(f"the block REVIEW is missing after {HOSTILE}",),
    )
    return [*results[:5], spoilt, *results[6:]]


def evaluate(
    writer: Writer, name: str, results: Sequence[RowResult], *, gates: Sequence[Gate] = (), **values: Any
) -> EvaluateResult:
    """An evaluation of those rows with the documents that the evaluator writes; `values` are added to the document."""
    made = evaluation_of(results)
    decided = decide(gates, made, Comparison(reference_score=0.931, base_mean=0.52))
    subject = Subject("product_owner", 1, "a" * 64, "b" * 64, "role_grammar", 768, 0.0, 42, "")
    comparison = comparison_document(
        mean=made.scores.mean,
        gap=gap(made.scores.mean, 0.931),
        reference_score=0.931,
        reference_source="dataset",
        baseline=None,
    )
    document = {**summary_document(subject, made, results, comparison, decided), **values}
    result = EvaluateResult(
        evaluation=made,
        gates=decided,
        passed=all(gate.passed for gate in decided),
        rows=writer.lines("rows.jsonl", [json_line(row_document(one)) for one in results]),
        summary=writer.store.put_bytes(json_bytes(document), name="evaluation.json"),
    )
    writer.commit(name, "evaluate", EvaluateRequest(model=writer.file("student.Q8_0.gguf")), result, seconds=60.0)
    return result


GATES = (
    Gate(figure="score_mean", min=0.75),
    Gate(figure="valid_rate", min=0.95),
    Gate(figure="gap", max=0.1),
    Gate(figure="median_seconds", max=10),
)


def finished_run(store: Store, *, gates: Sequence[Gate] = GATES) -> Writer:
    """All steps of a run with a teacher. Of the default gates one fails."""
    writer = Writer(store, [])
    read = generate(writer, calls())
    data = dataset(writer, read)
    export(writer, train(writer, data))
    held_out = records_of(examples(36)[24:], seed=1)
    paid = {"teacher": "emulator/gemini-2.5-flash", "cost_usd": 0.06}
    evaluate(writer, "evaluate-teacher", results_of(held_out, seconds=9.0), **paid)
    weak = [replace(one, score=one.score / 2, valid=False) for one in student_results()]
    evaluate(writer, "evaluate-base", weak)
    result = evaluate(writer, "evaluate", student_results(), gates=gates)
    writer.finish("succeeded" if result.passed else "gates failed")
    return writer
