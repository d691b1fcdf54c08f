"""The page of a comparison: whole, safe whatever a model wrote, with every evaluation's figures and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape

import pytest

from evaluation_documents import SUBJECT, evaluation_bytes, reader, result, results
from report_run import HOSTILE
from stillhouse.evaluator.figures import RowResult
from stillhouse.report.answers import answers_beside
from stillhouse.report.comparison_page import render_comparison
from stillhouse.report.differences import compare
from stillhouse.report.evaluations import read_evaluation

BASE = [*results(0.2, 0.9, 0.4), result(3, 0.0, failure="cancelled", failure_message="stopped", answer="", valid=False)]
STUDENT = [*results(0.9, 0.7, 0.4), result(3, 0.8)]


def page_of(student: Sequence[RowResult] = STUDENT, name: str = "student", *, answers: bool = True) -> str:
    rows = {"base": BASE, name: student, "teacher": STUDENT}
    base = read_evaluation(evaluation_bytes(BASE, subject=replace(SUBJECT, constraint="none")), source="base.json")
    theirs = read_evaluation(evaluation_bytes(student, program="9" * 64), source="student.json")
    paid = read_evaluation(evaluation_bytes(STUDENT, teacher="vertex/gemini", cost_usd=0.8), source="teacher.json")
    comparison = compare({"base": base, name: theirs, "teacher": paid})
    readers = {one: reader(kept) for one, kept in rows.items()}
    return render_comparison(comparison, answers_beside(comparison, readers, dict) if answers else ())


@pytest.fixture(scope="module")
def page() -> str:
    return page_of()


def text_of(page: str, section: str) -> str:
    """The words of one section."""
    found = re.search(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)
    assert found is not None
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[1])).split())


def test_figures_say_who_was_asked_what_failed_and_what_it_cost(page: str) -> None:
    figures = text_of(page, "compared")
    assert "base model aaaaaaaaaaaa, no grammar; 1 row without an answer 4 0.375" in figures
    assert "student model aaaaaaaaaaaa, role grammar, program 999999999999 4 0.700" in figures
    assert "teacher teacher vertex/gemini 4 0.700" in figures
    assert figures.count("US$ 0.20") == 1


def test_differences_have_interval_wins_ties_losses_and_a_reading(page: str) -> None:
    said = text_of(page, "differences")
    assert re.search(r"student \+0\.325 −1\.000 to \+1\.000 2 1 1 not clear", said)
    assert "Score less that of base , row by row over 4 rows" in said


def test_every_tier_has_its_lines(page: str) -> None:
    said = text_of(page, "tiers")
    assert [heading for heading in ("Simple, 1 row", "Medium, 1 row", "Corporate, 2 rows") if heading in said] == [
        "Simple, 1 row",
        "Medium, 1 row",
        "Corporate, 2 rows",
    ]
    assert said.count("teacher") == 3
    assert said.count("Std Min") == 3
    assert re.search(r"student 0\.850 0\.050 0\.800 \+0\.750", said)


def test_findings_are_those_of_all_evaluations(page: str) -> None:
    assert "student all 3 1 0 1.000 0.750 0.857" in text_of(page, "findings")


def test_answers_stand_side_by_side_with_what_differs_marked(page: str) -> None:
    said = text_of(page, "answers")
    assert "student beside base 4 rows, the largest loss first." in said
    assert "−0.200 0.900 → 0.700 medium 0000000000000001" in said
    assert "No answer. cancelled: stopped" in said
    assert re.search(r'<td class="theirs" data-side="A">hats and <mark>coats</mark></td>', page)
    assert re.search(r'<td class="ours" data-side="B">hats and <mark>caps</mark></td>', page)


def test_without_answers_the_page_has_figures_alone() -> None:
    page = page_of(answers=False)
    assert 'id="answers"' not in page
    assert 'href="#answers"' not in page


def test_markup_in_names_and_answers_is_text() -> None:
    page = page_of([replace(STUDENT[0], answer=HOSTILE, problems=(HOSTILE,)), *STUDENT[1:]], HOSTILE)
    assert HOSTILE not in page
    assert "&lt;script&gt;document.title" in page
    assert (page.count("<script"), page.count("<img")) == (1, 0)


def test_it_loads_nothing_and_leads_only_within_itself(page: str) -> None:
    addresses = re.findall(r'\b(?:src|href|action)="([^"]*)"', page)
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    for address in addresses:
        assert address == "data:," or f'id="{address[1:]}"' in page
    assert "default-src &#39;none&#39;" in page
