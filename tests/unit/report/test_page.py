"""The page: whole, safe whatever a model wrote, and readable without its script."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from report_run import HOSTILE, NAME, SPEC, finished_run
from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import find_run
from stillhouse.report.facts import RunReport
from stillhouse.report.page import render
from stillhouse.report.reading import read_report

VOID = {"meta", "link", "input"}


class Outline(HTMLParser):
    """Every tag with its attributes, headings in order, and whether all that was opened was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def report() -> RunReport:
    store = Store.open("memory://report-page")
    finished_run(store)
    return read_report(store, find_run(store, NAME))


@pytest.fixture(scope="module")
def page(report: RunReport) -> str:
    return render(report)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_every_tag_is_closed(outline: Outline) -> None:
    assert outline.open == []


def test_markup_in_an_answer_is_text(page: str, outline: Outline) -> None:
    assert HOSTILE not in page
    assert "&lt;script&gt;document.title" in page
    assert len(outline.named("script")) == 1
    assert outline.named("img") == []


def test_markup_in_every_text_of_a_run_is_text(report: RunReport) -> None:
    hostile = replace(report, name=HOSTILE, headline=HOSTILE, teacher=HOSTILE, notices=(HOSTILE,), store_uri=HOSTILE)
    made = Outline(render(hostile))
    assert len(made.named("script")) == 1
    assert made.named("img") == []


def test_control_characters_and_turned_text_are_made_visible(report: RunReport) -> None:
    made = render(replace(report, notices=("before\x00\x1b\u202eafter",)))
    assert "before\ufffd\ufffd\ufffdafter" in made


def test_nothing_is_loaded_from_anywhere(page: str, outline: Outline) -> None:
    addresses = [
        value
        for _, attributes in outline.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data") or name.endswith(":href")
    ]
    assert all(value is not None and value.startswith(("#", "data:,")) for value in addresses)
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_the_pages_own_two_blocks_alone(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    said = policy[1].replace("&#39;", "'")
    assert said.startswith("default-src 'none'")
    assert "unsafe" not in said
    for tag in ("style", "script"):
        block = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert block is not None
        digest = base64.b64encode(hashlib.sha256(block[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in said


def test_no_style_or_handler_stands_in_an_attribute(outline: Outline) -> None:
    for tag, attributes in outline.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag


def test_headings_go_down_one_level_at_a_time(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_link_of_the_contents_leads_to_a_section(outline: Outline) -> None:
    ids = {attributes.get("id") for _, attributes in outline.tags}
    links = [str(attributes["href"]).removeprefix("#") for attributes in outline.named("a")]
    assert len(links) == 10
    assert set(links) <= ids


def test_a_verdict_is_said_in_words_beside_its_colour(page: str) -> None:
    gates = page[page.index('id="gates"') : page.index('id="funnel"')]
    assert len(re.findall(r"Passed</span>", gates)) == 3
    assert len(re.findall(r"Failed</span>", gates)) == 1


def test_the_evaluations_are_compared_row_by_row(page: str) -> None:
    compared = page[page.index('id="compared"') : page.index('id="gates"')]
    assert "<h3>Row by row beside the student</h3>" in compared
    assert compared.count('data-label="95 % interval"') == 2 + 3 * 3
    assert "US$ 0.0050" in compared
    assert "worse</td>" in compared


def test_marks_of_a_chart_say_their_figures(page: str) -> None:
    assert "<title>step 60: tuning loss 0.4472</title>" in page
    assert "accepted from 0.80" in page


def test_a_run_of_which_nothing_is_made_has_a_page() -> None:
    store = Store.open("memory://report-empty")
    finished = finished_run(store)
    finished.steps = [{"name": "dataset", "stage": "dataset", "key": "", "state": "waiting", "message": "concepts"}]
    finished.finish("", spec={**SPEC, "dataset": {}})
    made = render(read_report(store, find_run(store, NAME)))
    assert "The run is not finished: 0 of 1 step done" in made
    assert Outline(made).open == []


def test_the_page_is_small_enough_to_mail(page: str) -> None:
    assert len(page.encode()) < 300_000
