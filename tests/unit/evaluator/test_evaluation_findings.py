import json
from pathlib import Path

import pytest
from rich.console import Console

from quiz_role import QuizRole
from scripted_student import ScriptedStudent
from stillhouse.cli.evaluation_tables import show_evaluation
from stillhouse.errors import InvalidArgument
from stillhouse.evaluator.evaluation import EvaluationPlan, Measured, measure
from stillhouse.evaluator.figures import Findings, RowResult, findings_by_tier, findings_of
from stillhouse.evaluator.rows import read_rows
from stillhouse.evaluator.summary import Subject, row_document
from stillhouse.roles.role import Detection


def row(tier: str = "", **detections: Detection) -> RowResult:
    return RowResult("id", {}, {"tier": tier} if tier else {}, detections=detections)


def evaluated(script: ScriptedStudent, *labels: dict[str, str]) -> Measured:
    lines = [json.dumps({"question": f"question {number}", **values}) for number, values in enumerate(labels)]
    subject = Subject("quiz", 3, "", "v" * 64, "none", 64, 0.0, 42, "")
    return measure(EvaluationPlan(QuizRole(), None, list(read_rows(lines, QuizRole(), source="rows")), subject), script)


def saying(comment: str) -> ScriptedStudent:
    return ScriptedStudent(lambda text: f"ANSWER: a full answer / COMMENT: {comment}")


def test_detections_are_summed_over_rows_by_kind() -> None:
    found = findings_of([row(gaps=Detection(1, 2, 3)), row(), row(gaps=Detection(4, 0, 1), conflicts=Detection(1))])

    assert found == {"gaps": Findings(5, 2, 4), "conflicts": Findings(1, 0, 0)}


def test_precision_recall_and_f1_follow_from_the_counts() -> None:
    findings = Findings(found=6, missed=2, invented=4)

    assert findings.planted == 8
    assert (findings.precision, findings.recall) == (0.6, 0.75)
    assert findings.f1 == pytest.approx(2 * 0.6 * 0.75 / 1.35)


@pytest.mark.parametrize(
    ("findings", "figures"),
    [
        (Findings(0, 0, 0), (None, None, None)),
        (Findings(0, 2, 0), (None, 0.0, 0.0)),
        (Findings(0, 0, 2), (0.0, None, 0.0)),
    ],
)
def test_a_figure_without_a_denominator_is_none_and_not_zero(
    findings: Findings, figures: tuple[float | None, ...]
) -> None:
    assert (findings.precision, findings.recall, findings.f1) == figures


def test_tiers_are_told_apart() -> None:
    rows = [row("big", gaps=Detection(1)), row("small", gaps=Detection(0, 1)), row("small"), row(gaps=Detection(5))]

    assert findings_by_tier(rows) == {"big": {"gaps": Findings(1, 0, 0)}, "small": {"gaps": Findings(0, 1, 0)}}


def test_the_document_has_the_findings_overall_by_tier_and_by_row() -> None:
    measured = evaluated(
        saying("slip slip"),
        {"planted_slips": "3", "tier": "big"},
        {"planted_slips": "1", "tier": "small"},
        {"tier": "small"},
    )

    findings = measured.document["findings"]
    assert findings["slips"] == {
        "precision": 0.75,
        "recall": 0.75,
        "f1": 0.75,
        "planted": 4,
        "found": 3,
        "missed": 1,
        "invented": 1,
    }
    assert findings["by_tier"]["big"]["slips"]["recall"] == pytest.approx(2 / 3)
    assert findings["by_tier"]["small"]["slips"]["precision"] == 0.5
    assert row_document(measured.results[0])["detections"] == {"slips": {"found": 2, "missed": 1, "invented": 0}}
    assert row_document(measured.results[2])["detections"] == {}


def test_failed_and_unreadable_rows_have_missed_what_was_planted() -> None:
    def script(text: str) -> str:
        if text == "question 0":
            raise InvalidArgument("too long")
        return "no idea"

    measured = evaluated(ScriptedStudent(script), {"planted_slips": "2"}, {"planted_slips": "1"})

    assert measured.document["findings"]["slips"]["missed"] == 3
    assert measured.document["findings"]["slips"]["precision"] is None


def test_without_labels_there_are_no_findings() -> None:
    assert evaluated(saying("slip"), {"tier": "big"}).document["findings"] == {}


def shown(measured: Measured, capsys: pytest.CaptureFixture[str]) -> str:
    show_evaluation(Console(width=100, highlight=False), measured.document, Path("EVAL.json"))
    return capsys.readouterr().out


def test_the_table_has_a_line_a_kind_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(evaluated(saying("slip"), {"planted_slips": "2"}), capsys)
    assert "1 of 2 planted found, 0 invented; precision 100.0 %, recall 50.0 %, F1 0.6667" in text

    text = shown(evaluated(saying("good"), {"planted_slips": "0"}), capsys)
    assert "0 of 0 planted found, 0 invented; precision -, recall -, F1 -" in text

    assert "planted" not in shown(evaluated(saying("good"), {}), capsys)
