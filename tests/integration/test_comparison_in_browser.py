"""The page of a comparison in a real browser: clicked through, without a complaint, a request or a sideways scroll."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromium import PROGRAM, chromium
from evaluation_documents import evaluation_bytes, reader, results
from stillhouse.report.answers import answers_beside
from stillhouse.report.comparison_page import render_comparison
from stillhouse.report.differences import compare
from stillhouse.report.evaluations import read_evaluation

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="there is no chromium on this machine (apt-get install chromium)"
)
LONG = "student-with-the-grammar-of-the-role-and-an-optimised-program-of-thirty-trials"
ROWS = {"base": results(0.2, 0.9, 0.4), "student": results(0.9, 0.7, 0.4), LONG: results(0.9, 0.9, 0.4)}
SHOWN = "[...document.querySelectorAll('.row')].map((row) => row.getClientRects().length > 0)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    comparison = compare({name: read_evaluation(evaluation_bytes(rows), source=name) for name, rows in ROWS.items()})
    answers = answers_beside(comparison, {name: reader(rows) for name, rows in ROWS.items()}, dict)
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    path.write_text(render_comparison(comparison, answers), encoding="utf-8")
    return path


def test_answers_are_chosen_by_evaluation_and_unfold_by_row(file: Path, tmp_path: Path) -> None:
    with chromium(tmp_path) as page:
        page.open(file.as_uri())
        assert page.evaluate("document.querySelector('[role=tablist]').getAttribute('aria-label')") == "Evaluation"
        assert page.evaluate(SHOWN) == [True, False]
        page.click("#tab-answers-2")
        assert page.evaluate(SHOWN) == [False, True]
        page.click("#answers-2 .answers summary")
        assert page.evaluate("document.querySelector('#answers-2 .answers').open")
        assert page.evaluate("document.querySelector('#answers-2 .answers .diff').getClientRects().length > 0")
        for width in (320, 768, 1280):
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.complaints() == []
        assert page.requests() == [file.as_uri()]
