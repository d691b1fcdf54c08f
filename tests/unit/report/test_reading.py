"""A run read from its store: finished, unfinished, and with parts of it lost."""

from __future__ import annotations

import pytest

from report_run import GATES, NAME, Writer, dataset, finished_run
from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import find_run
from stillhouse.errors import NotFound
from stillhouse.report.facts import RunReport
from stillhouse.report.reading import read_report
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.evaluator_pb2 import EvaluateResult
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsResult

FEWER = tuple(gate for gate in GATES if gate.figure != "valid_rate")


@pytest.fixture(scope="module")
def report() -> RunReport:
    store = Store.open("memory://report-whole")
    finished_run(store)
    return read_report(store, find_run(store, NAME), store_option=" --store s3://kept")


def place_of(artifact: Artifact) -> str:
    return f"blobs/sha256/{artifact.sha256}"


def test_a_failed_gate_is_named_in_the_headline(report: RunReport) -> None:
    assert report.verdict == "failed"
    assert "fails 1 of 4 gates: valid answers 91.7 %, wanted at least 95.0 %" in report.headline
    assert "beside the base model’s" in report.headline


def test_passed_gates_make_the_run_passed() -> None:
    store = Store.open("memory://report-passed")
    finished_run(store, gates=FEWER)
    report = read_report(store, find_run(store, NAME))
    assert report.verdict == "passed"
    assert report.headline.startswith("The student passes all 3 gates.")


def test_student_base_and_teacher_stand_in_that_order(report: RunReport) -> None:
    assert [one.title for one in report.contenders] == ["Student", "Base model", "Teacher"]
    assert all(one.rows == 12 and one.seconds is not None for one in report.contenders)


def test_base_and_teacher_are_compared_with_the_student_row_by_row(report: RunReport) -> None:
    assert report.comparison is not None
    assert report.comparison.baseline.name == "Student"
    base, teacher = (one.difference for one in report.comparison.others)
    assert base is not None
    assert teacher is not None
    assert (base.wins, base.losses, base.high < 0) == (0, 12, True)
    assert (teacher.wins >= 1, teacher.rows, teacher.mean > 0) == (True, 12, True)


def test_only_a_teachers_answers_have_a_cost(report: RunReport) -> None:
    assert [one.cost_usd for one in report.contenders] == [None, None, pytest.approx(0.005)]


def test_the_funnel_goes_from_calls_to_validation_and_nothing_gets_lost(report: RunReport) -> None:
    titles = [step.title for step in report.funnel]
    assert titles == [
        "Calls to the teacher",
        "Answers",
        "Accepted",
        "Records",
        "Data set",
        "Train",
        "Tuning",
        "Validation",
    ]
    for before, after in zip(report.funnel[:5], report.funnel[1:5], strict=False):
        assert before.count - sum(left.count for left in after.left) == after.count
    assert sum(step.count for step in report.funnel[5:]) == report.funnel[4].count


def test_an_emulated_teacher_is_said_to_be_one(report: RunReport) -> None:
    assert "(emulated)" in report.teacher
    assert any("nothing was paid" in notice for notice in report.notices)


def test_cost_and_calls_are_given_by_record(report: RunReport) -> None:
    facts = {fact.name: fact.value for fact in report.facts}
    assert facts["Cost of the teacher"] == "US$ 0.50"
    assert facts["Calls a record"] == "1.48"


def test_the_rows_shown_are_the_best_the_median_and_the_worst(report: RunReport) -> None:
    best, middle, worst = report.compared
    assert (best.place, middle.place, worst.place) == ("best", "median", "worst")
    assert best.right.score >= middle.right.score >= worst.right.score == 0.12
    assert best.reference == "the teacher’s answer to the same row"
    assert [pair.name for pair in best.pairs] == ["product_vision", "product_owner_review"]
    assert [pair.name for pair in worst.pairs] == ["answer"]


def test_findings_are_read_overall_and_by_tier(report: RunReport) -> None:
    assert {line.who for line in report.findings} == {"Student", "Base model", "Teacher"}
    overall = [line for line in report.findings if line.who == "Teacher" and not line.tier]
    assert {line.kind for line in overall} == {"gaps", "conflicts"}
    assert all(line.found and line.precision is not None for line in overall)
    assert {line.tier for line in report.findings} >= {"", "simple", "medium"}


def test_lineage_names_the_step_that_made_an_input(report: RunReport) -> None:
    training = next(stage for stage in report.stages if stage.name == "train")
    assert {"dataset", "base"} <= {item.made_by for item in training.inputs}
    assert len(training.key) == 64
    assert all(len(item.sha256) == 64 for item in (*training.inputs, *training.outputs))


def test_commands_name_the_store_where_it_is_not_the_default(report: RunReport) -> None:
    assert report.commands[0].value == f"stillhouse chat {NAME} --store s3://kept"


def test_without_an_evaluation_of_the_teacher_its_recorded_answers_count() -> None:
    store = Store.open("memory://report-recorded")
    writer = finished_run(store, gates=FEWER)
    writer.steps = [step for step in writer.steps if step["name"] not in ("evaluate-teacher", "generate")]
    writer.finish("succeeded")
    report = read_report(store, find_run(store, NAME))
    assert report.contenders[-1].note == "its answers for the data set, not to the held-out rows"
    assert report.contenders[-1].valid is None
    assert report.compared[0].reference == "the recorded answer of the row"
    assert report.teaching is None
    assert report.funnel[0].title == "Rows read"


def test_an_unfinished_run_shows_what_is_there() -> None:
    store = Store.open("memory://report-unfinished")
    writer = Writer(store, [])
    dataset(writer, 61)
    writer.steps.append({"name": "train", "stage": "train", "key": "c" * 64, "state": "running", "message": ""})
    writer.waits("evaluate", "evaluate", "train")
    writer.finish("")
    store.put_object(
        f"runs/{'c' * 64}/progress.json", b'{"message": "epoch 1 of 3", "done": 7, "total": 90, "unit": "steps"}'
    )
    run = find_run(store, NAME)
    report = read_report(store, run, is_running=True)
    assert report.verdict == "unfinished"
    assert report.headline == "The run is not finished: 1 of 3 steps done; train is under way."
    assert [(stage.state, stage.message) for stage in report.stages[1:]] == [
        ("running", "epoch 1 of 3, 7 of 90 steps"),
        ("waiting", "train"),
    ]
    assert report.funnel
    assert not report.compared
    stopped = read_report(store, run)
    assert stopped.stages[1].state == "interrupted"
    assert stopped.headline.endswith("it is not running on this machine.")


def test_a_failed_step_is_the_headline() -> None:
    store = Store.open("memory://report-broken")
    writer = Writer(store, [])
    writer.steps.append(
        {"name": "dataset", "stage": "dataset", "key": "d" * 64, "state": "failed", "message": "3 rows"}
    )
    writer.finish("failed")
    report = read_report(store, find_run(store, NAME))
    assert (report.verdict, report.headline) == ("stopped", "The run stopped: dataset failed: 3 rows")


def test_lost_artifacts_are_said_and_the_rest_is_shown() -> None:
    store = Store.open("memory://report-lost")
    writer = finished_run(store)
    found = {step["name"]: store.read_manifest(step["stage"], step["key"]) for step in writer.steps}
    generated, evaluated = GenerateRecordsResult(), EvaluateResult()
    for name, message in (("generate", generated), ("evaluate", evaluated)):
        manifest = found[name]
        assert manifest is not None
        manifest.result.Unpack(message)
    store.objects.delete(place_of(generated.calls))
    store.objects.write(place_of(evaluated.rows), b"tampered with")
    report = read_report(store, find_run(store, NAME))
    assert report.teaching is None
    assert not report.compared
    assert report.gates
    said = " ".join(report.notices)
    assert "calls.jsonl" in said
    assert "does not have the bytes that its name says" in said


def test_a_lost_manifest_is_said() -> None:
    store = Store.open("memory://report-lost-manifest")
    writer = finished_run(store)
    step = next(step for step in writer.steps if step["name"] == "export")
    store.delete_object(f"stages/export/{step['key']}/manifest.json")
    report = read_report(store, find_run(store, NAME))
    assert any("record of step export is gone" in notice for notice in report.notices)
    assert [command.value for command in report.commands] == [f"stillhouse status {NAME}"]


def test_a_run_that_does_not_exist_is_answered_with_the_known_ones() -> None:
    store = Store.open("memory://report-unknown")
    finished_run(store)
    with pytest.raises(NotFound, match=f"runs there: {NAME}"):
        find_run(store, "orchid")
