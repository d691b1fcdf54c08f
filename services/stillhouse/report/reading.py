"""Reads a run and its store into a RunReport. Called by the command line; changes nothing and draws nothing.

What is not made yet is left out; what the store has lost is left out and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.message import Message

from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import Run
from stillhouse.dataset.lines import Row, read_rows
from stillhouse.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, StillhouseError
from stillhouse.report import headline
from stillhouse.report.comparison import Reference, canonical_of, compared_rows
from stillhouse.report.differences import Comparison, compare
from stillhouse.report.evaluations import TIERS, Evaluation, read_evaluation
from stillhouse.report.facts import ComparedRow, Fact, Histogram, LossPoint, RunReport, Teaching
from stillhouse.report.findings import findings_of
from stillhouse.report.funnel import funnel_of
from stillhouse.report.lineage import stages_of
from stillhouse.report.losses import loss_points
from stillhouse.report.optimization import Optimization, read_optimization
from stillhouse.report.scores import ScoreTally
from stillhouse.report.teaching import number, teaching_of
from stillhouse.rpc.operation import read_progress
from stillhouse.v1.artifact_pb2 import Artifact, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.optimizer_pb2 import OptimizeResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult
from stillhouse.v1.trainer_pb2 import PrepareBaseResult, TrainResult

_UNLABELLED = "not recorded"
_LOST = (NotFound, DataLoss, InvalidArgument, FailedPrecondition)
MessageT = TypeVar("MessageT", bound=Message)
ValueT = TypeVar("ValueT")


def read_report(
    store: Store, run: Run, *, is_running: bool = False, store_option: str = "", on_cluster: bool = False
) -> RunReport:
    """The report of a run as it stands; `store_option` is what commands need to find it again (` --store URI`).

    Raises Unavailable or PermissionDenied where the store can't be read. Lost or broken artifacts are notices.
    """
    reader = _Reader(store, run)
    evaluations = {
        step["name"]: result
        for step in run.steps
        if (result := reader.result(step["name"], EvaluateResult)) is not None
    }
    student = evaluations.get(headline.STUDENT)
    dataset = reader.result("dataset", BuildDatasetResult)
    teaching = reader.teaching()
    documents = reader.documents(evaluations)
    gates, contenders = headline.gates_of(student), headline.contenders(evaluations, documents, dataset, teaching)
    mark, sentence = headline.verdict(run.steps, gates, contenders, running=is_running)
    spec = run.distillation.get("spec") or {}
    teacher, teacher_notices = headline.teacher_of(spec)
    report = RunReport(
        name=run.name,
        store_uri=run.store_uri,
        updated=_moment(run.updated),
        verdict=mark,
        headline=sentence,
        role=str(spec.get("role", "")),
        teacher=teacher,
        student=str((spec.get("student") or {}).get("base", "")),
        facts=headline.cost_facts(teaching, reader.manifests, student),
        notices=(),
        contenders=contenders,
        comparison=reader.comparison(documents),
        gates=gates,
        funnel=funnel_of(teaching, reader.request("dataset", BuildDatasetRequest), dataset),
        teaching=teaching,
        histograms=reader.histograms(evaluations, dataset, teaching),
        losses=reader.losses(),
        making=reader.making(),
        optimization=reader.optimization(),
        findings=tuple(line for title, one in documents.items() for line in findings_of(one, who=title)),
        compared=reader.compared(evaluations, dataset),
        stages=stages_of(reader.steps(is_running=is_running), reader.manifests),
        commands=_commands(run, store_option, made="export" in reader.manifests, on_cluster=on_cluster),
    )
    # Read last: every section above may have found something lost.
    return replace(report, notices=tuple(dict.fromkeys((*reader.notices, *teacher_notices))))


def _commands(run: Run, store_option: str, *, made: bool, on_cluster: bool) -> tuple[Fact, ...]:
    commands = [Fact("See where it stands", f"stillhouse status {run.name}{store_option}")]
    if made and not on_cluster:
        commands.insert(
            0, Fact("Serve it over gRPC", f"stillhouse serve-student {run.name}{store_option} --port 50051")
        )
    if made:
        commands.insert(0, Fact("Talk to the student", f"stillhouse chat {run.name}{store_option}"))
    return tuple(commands)


@dataclass
class _Reader:
    """What the steps made. `notices` collects what could not be read."""

    store: Store
    run: Run
    manifests: dict[str, Manifest] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for step in self.run.steps:
            if not step["key"]:
                continue
            manifest = self._kept(partial(self.store.read_manifest, step["stage"], step["key"]))
            if manifest is not None:
                self.manifests[step["name"]] = manifest
            elif step["state"] == "done":
                self.notices.append(
                    f"The record of step {step['name']} is gone from the store; the run’s own command makes it again."
                )

    def steps(self, *, is_running: bool) -> list[dict[str, str]]:
        """The run's steps; one that is under way says how far it is, one whose runner is gone is `interrupted`."""
        shown = []
        for step in self.run.steps:
            if step["state"] == "running":
                progress = read_progress(self.store, step["key"])
                said = f"{progress.message}, {progress.done} of {progress.total} {progress.unit}" if progress else ""
                shown.append({**step, "state": "running" if is_running else "interrupted", "message": said})
            else:
                shown.append(step)
        return shown

    def result(self, step: str, message_type: type[MessageT]) -> MessageT | None:
        """What a finished step made; None while it is not done, or where it is of another kind."""
        manifest = self.manifests.get(step)
        return None if manifest is None else _unpacked(manifest.result, message_type)

    def request(self, step: str, message_type: type[MessageT]) -> MessageT | None:
        """What a finished step was asked."""
        manifest = self.manifests.get(step)
        return None if manifest is None else _unpacked(manifest.request, message_type)

    def teaching(self) -> Teaching | None:
        """The generate stage, where there is one."""
        request = self.request("generate", GenerateRecordsRequest)
        result = self.result("generate", GenerateRecordsResult)
        if request is None or result is None or not result.calls.sha256:
            return None
        return self._kept(lambda: teaching_of(self._rows(result.calls), request, result, tiers=TIERS))

    def losses(self) -> tuple[LossPoint, ...]:
        """The loss curve, thinned to what a chart shows."""
        training = self.result("train", TrainResult)
        if training is None or not training.loss_curve.sha256:
            return ()
        return self._kept(lambda: loss_points(row.values for row in self._rows(training.loss_curve))) or ()

    def histograms(
        self,
        evaluations: Mapping[str, EvaluateResult],
        dataset: BuildDatasetResult | None,
        teaching: Teaching | None,
    ) -> tuple[Histogram, ...]:
        """The teacher's by model and tier, from its calls or else from the data set; then the contenders'."""
        shown = list(teaching.histograms) if teaching is not None else self._recorded(dataset)
        tally = ScoreTally()
        for name, title in headline.TITLES.items():
            if name in evaluations:
                self._kept(partial(self._tally, tally, title, evaluations[name].rows))
        order = tuple(headline.TITLES.values())
        compared = tally.histogram("Scores on the held-out rows", of="rows", order=order)
        return (*shown, *((compared,) if compared is not None else ()))

    def _recorded(self, dataset: BuildDatasetResult | None) -> list[Histogram]:
        if dataset is None:
            return []
        by_model, by_tier = ScoreTally(), ScoreTally()
        for artifact in (dataset.train, dataset.tuning):
            if artifact.sha256:
                self._kept(partial(self._tally_labels, artifact, {"model": by_model, "tier": by_tier}))
        shown = [
            by_model.histogram("Scores of the data set, by model", of="records"),
            by_tier.histogram("Scores of the data set, by tier", of="records", order=TIERS),
        ]
        # A label that no record has tells nothing; the first histogram shows the scores in any case.
        return [
            histogram
            for histogram in shown
            if histogram is not None
            and (histogram is shown[0] or [group.name for group in histogram.groups] != [_UNLABELLED])
        ]

    def _tally(self, tally: ScoreTally, title: str, artifact: Artifact) -> None:
        for row in self._rows(artifact):
            tally.add(title, number(row.values, "score"))

    def _tally_labels(self, artifact: Artifact, tallies: Mapping[str, ScoreTally]) -> None:
        for row in self._rows(artifact):
            labels = row.values.get("labels") or {}
            if row.values.get("score") is not None:
                for label, tally in tallies.items():
                    tally.add(str(labels.get(label) or _UNLABELLED), number(row.values, "score"))

    def documents(self, evaluations: Mapping[str, EvaluateResult]) -> dict[str, Evaluation]:
        """By title, the student's first; without those that the store has lost."""
        found = {}
        for name, title in headline.TITLES.items():
            if name in evaluations:
                document = self._kept(partial(self._document, evaluations[name].summary))
                if document is not None:
                    found[title] = document
        return found

    def comparison(self, documents: Mapping[str, Evaluation]) -> Comparison | None:
        """The others beside the student; None without one, or without others."""
        if headline.TITLES[headline.STUDENT] not in documents or len(documents) < 2:
            return None
        return self._kept(lambda: compare(documents))

    def compared(
        self, evaluations: Mapping[str, EvaluateResult], dataset: BuildDatasetResult | None
    ) -> tuple[ComparedRow, ...]:
        """Best, median and worst row of the student beside the teacher's own evaluation, else its recorded answers."""
        if headline.STUDENT not in evaluations:
            return ()
        rows = evaluations[headline.STUDENT].rows
        references = []
        if headline.TEACHER in evaluations:
            theirs = evaluations[headline.TEACHER].rows
            references.append(Reference("the teacher’s answer to the same row", lambda: self._safely(theirs)))
        if dataset is not None and dataset.validation.sha256:
            recorded = dataset.validation
            references.append(Reference("the recorded answer of the row", lambda: self._safely(recorded)))
        canonical = canonical_of(str((self.run.distillation.get("spec") or {}).get("role", "")))
        return self._kept(lambda: compared_rows(lambda: self._rows(rows), references, canonical)) or ()

    def making(self) -> tuple[Fact, ...]:
        """Base, training and export in facts."""
        return headline.making_facts(
            self.result("base", PrepareBaseResult),
            self.result("train", TrainResult),
            self.result("export", ExportResult),
        )

    def optimization(self) -> Optimization | None:
        """The search for a prompt, where there was one."""
        result = self.result("optimize", OptimizeResult)
        return None if result is None else self._kept(lambda: read_optimization(self.store, result))

    def _document(self, artifact: Artifact) -> Evaluation:
        return read_evaluation(self.store.read_bytes(artifact), source=artifact.name or "an evaluation")

    def _rows(self, artifact: Artifact) -> Iterator[Row]:
        return read_rows(self.store.open_lines(artifact), source=artifact.name or "artifact")

    def _safely(self, artifact: Artifact) -> Iterator[Row]:
        """Rows of a reference, or none with a notice: the student's answers are shown without it."""
        try:
            yield from self._rows(artifact)
        except _LOST as exc:
            self.notices.append(_left_out(exc))

    def _kept(self, read: Callable[[], ValueT]) -> ValueT | None:
        """What `read` gives; None with a notice where the store has lost or broken it."""
        try:
            return read()
        except _LOST as exc:
            self.notices.append(_left_out(exc))
            return None


def _left_out(exc: StillhouseError) -> str:
    return f"Left out of this report: {exc.message}"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _unpacked(packed: PackedMessage, message_type: type[MessageT]) -> MessageT | None:
    message = message_type()
    return message if packed.Unpack(message) else None
