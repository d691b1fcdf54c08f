"""The first screen of a report: verdict in a sentence, who is compared with whom, what it cost. Pure.

Called by `reading` with the results of the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.report import words
from stillhouse.report.evaluations import Evaluation
from stillhouse.report.facts import Contender, Fact, GateFact, Teaching
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetResult
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.exporter_pb2 import ExportResult
from stillhouse.v1.record_pb2 import ScoreStatistics
from stillhouse.v1.trainer_pb2 import PrepareBaseResult, TrainResult

STUDENT = "evaluate"
TEACHER = "evaluate-teacher"
TITLES = {
    STUDENT: "Student",
    "evaluate-unoptimized": "Student, role’s own prompt",
    "evaluate-unconstrained": "Student, no grammar",
    "evaluate-constrained": "Student, role grammar",
    "evaluate-base": "Base model",
    TEACHER: "Teacher",
}
_HELD_OUT = "on the held-out rows"


def contenders(
    evaluations: Mapping[str, EvaluateResult],
    documents: Mapping[str, Evaluation],
    dataset: BuildDatasetResult | None,
    teaching: Teaching | None,
) -> tuple[Contender, ...]:
    """Student, base, teacher in that order. Without an evaluation of its own, the teacher as its recorded answers.

    `documents` are the evaluations by title, as far as they can be read: what an answer costs.
    """
    found = [
        _evaluated(title, evaluations[name], documents.get(title))
        for name, title in TITLES.items()
        if name in evaluations
    ]
    if TEACHER not in evaluations and dataset is not None:
        recorded = dataset.teacher_scores if dataset.teacher_scores.count else dataset.scores
        if recorded.count:
            found.append(_recorded(recorded, teaching))
    return tuple(found)


def gates_of(result: EvaluateResult | None) -> tuple[GateFact, ...]:
    """The gates of the student's evaluation."""
    if result is None:
        return ()
    return tuple(
        GateFact(
            words.FIGURES.get(one.gate.figure, one.gate.figure.replace("_", " ")),
            words.figure(one.gate.figure, one.value),
            words.bound(
                one.gate.figure,
                lower=one.gate.min if one.gate.HasField("min") else None,
                upper=one.gate.max if one.gate.HasField("max") else None,
            ),
            one.passed,
        )
        for one in result.gates
    )


def verdict(
    steps: Sequence[Mapping[str, str]],
    gates: Sequence[GateFact],
    compared: Sequence[Contender],
    *,
    running: bool,
) -> tuple[str, str]:
    """A word for the mark, and a sentence or two."""
    failed = [step for step in steps if step["state"] == "failed"]
    if failed:
        return "stopped", f"The run stopped: {failed[0]['name']} failed: {failed[0]['message'] or 'no reason recorded'}"
    done = sum(step["state"] == "done" for step in steps)
    student = next((one for one in compared if one.title == TITLES[STUDENT]), None)
    if done < len(steps) or student is None:
        current = next((step["name"] for step in steps if step["state"] in ("running", "retrying", "ready")), "")
        where = f"{current} is under way" if running and current else "it is not running on this machine"
        return "unfinished", f"The run is not finished: {done} of {words.plural(len(steps), 'step')} done; {where}."
    means = _means(student, compared)
    missed = [gate for gate in gates if not gate.passed]
    if missed:
        reasons = "; ".join(f"{gate.figure.lower()} {gate.measured}, wanted {gate.bound}" for gate in missed)
        return "failed", f"The student fails {len(missed)} of {words.plural(len(gates), 'gate')}: {reasons}. {means}"
    if not gates:
        return "passed", f"The run is finished; no gate was set. {means}"
    return "passed", f"The student passes {'its one gate' if len(gates) == 1 else f'all {len(gates)} gates'}. {means}"


def _means(student: Contender, compared: Sequence[Contender]) -> str:
    others = [
        f"the {one.title.lower()}’s {words.score(one.mean)}{'' if one.note == _HELD_OUT else f' ({one.note})'}"
        for one in compared
        if one.title in (TITLES["evaluate-base"], TITLES[TEACHER])
    ]
    beside = f" beside {' and '.join(others)}" if others else ""
    return f"Its mean score on {words.plural(student.rows, 'held-out row')} is {words.score(student.mean)}{beside}."


def cost_facts(
    teaching: Teaching | None, manifests: Mapping[str, Manifest], result: EvaluateResult | None
) -> tuple[Fact, ...]:
    """What the teacher cost, how long the steps worked, what an answer takes."""
    facts = []
    if teaching is not None:
        facts.append(Fact("Cost of the teacher", words.money(teaching.cost_usd)))
        if teaching.records:
            facts.append(Fact("Cost a record", words.money(teaching.cost_usd / teaching.records)))
            facts.append(Fact("Calls a record", f"{teaching.calls / teaching.records:.2f}"))
    if manifests:
        # Two steps with one key are one job.
        seconds = {manifest.key: manifest.seconds for manifest in manifests.values()}
        facts.append(Fact("Working time of all steps", words.duration(sum(seconds.values()))))
    if result is not None:
        facts.append(Fact("Student’s time an answer", words.duration(result.evaluation.median_seconds)))
    return tuple(facts)


def making_facts(
    base: PrepareBaseResult | None, training: TrainResult | None, exported: ExportResult | None
) -> tuple[Fact, ...]:
    """Base, training and export, as far as they are done."""
    facts = []
    if base is not None:
        facts.append(Fact("Base model", f"{base.parameters / 1e6:,.0f} million parameters, {base.architecture}"))
        facts.append(Fact("Licence of the base", base.license or "not stated"))
    if training is not None:
        machine = f"{training.device} ({training.precision})"
        tokens = f"{words.count(training.trained_tokens)} tokens"
        facts.append(Fact("Training", f"{words.plural(training.steps, 'step')} on {machine}, {tokens}"))
        facts.append(Fact("Best tuning loss", f"{training.best_tuning_loss:.4f} at step {training.best_step}"))
    if exported is not None:
        facts.append(Fact("Exported file", f"{exported.model.name}, {words.size(exported.model.size_bytes)}"))
        facts.append(Fact("Token parity", f"{exported.parity_mismatches} of {exported.parity_probes} probes differ"))
        quantized = f"{exported.kl_divergence_quantized:.2g} nats a token as {exported.quantization}"
        facts.append(Fact("KL divergence of the file", f"{quantized}, {exported.kl_divergence_f16:.2g} as F16"))
    return tuple(facts)


def teacher_of(spec: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The teachers by name, and what is to be known of them: none of it is real where it was emulated or scripted."""
    dataset = spec.get("dataset") or {}
    stages = (dataset.get("teacher") or {}).get("stages") or []
    named, notices = [], []
    for stage in stages:
        if stage.get("import"):
            named.append(str(stage["import"].get("model") or "recorded answers"))
            continue
        emulated = stage.get("provider") == "emulator"
        named.append(f"{stage.get('model', 'unknown model')}{' (emulated)' if emulated else ''}")
        if emulated:
            notices.append(
                "The teacher was emulated: a scripted author answered in the model’s place. "
                "Costs are what the model of that name would have been billed at; nothing was paid."
            )
    for source in dataset.get("imports") or []:
        scripted = bool(source.get("synthesized"))
        named.append("the role’s scripted author" if scripted else str(source.get("model") or "recorded answers"))
        if scripted:
            notices.append(
                "Some or all of the recorded answers were written by the role’s scripted author, not a model."
            )
    return ", ".join(dict.fromkeys(named)) or "none", tuple(dict.fromkeys(notices))


def _evaluated(title: str, result: EvaluateResult, document: Evaluation | None) -> Contender:
    made = result.evaluation
    return Contender(
        title,
        _HELD_OUT,
        int(made.scores.count),
        made.scores.mean,
        made.scores.std,
        made.scores.min,
        made.valid_rate,
        made.guard_rate,
        made.median_seconds,
        None if document is None else document.cost_usd_per_row,
    )


def _recorded(scores: ScoreStatistics, teaching: Teaching | None) -> Contender:
    seconds = teaching.median_seconds if teaching is not None else None
    note = "its answers for the data set, not to the held-out rows"
    return Contender("Teacher", note, int(scores.count), scores.mean, scores.std, scores.min, seconds=seconds)
