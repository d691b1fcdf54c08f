"""The report in a real browser: clicked through, without a complaint in the console and without a request."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import PROGRAM, Page, chromium
from report_run import NAME, finished_run
from stillhouse.artifacts.store import Store
from stillhouse.controller.runs import find_run
from stillhouse.report.page import render
from stillhouse.report.reading import read_report

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="there is no chromium on this machine (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    store = Store.open(str(directory / "store"))
    finished_run(store)
    path = directory / "report.html"
    path.write_text(render(read_report(store, find_run(store, NAME))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, file: Path) -> Iterator[Page]:
    """The report, freshly opened; whatever a test does, nothing may complain and nothing may be fetched."""
    browser.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.open(file.as_uri())
    yield browser
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]


def shown(page: Page, selector: str) -> bool:
    found = page.evaluate(f"document.querySelector('{selector}').getClientRects().length > 0")
    return bool(found)


def test_rows_are_shown_one_at_a_time_and_chosen_by_a_click(page: Page) -> None:
    assert [shown(page, f"#row-{place}") for place in ("best", "median", "worst")] == [True, False, False]
    page.click("#tab-row-worst")
    assert [shown(page, f"#row-{place}") for place in ("best", "median", "worst")] == [False, False, True]
    assert page.evaluate("document.querySelector('#tab-row-worst').getAttribute('aria-selected')") == "true"


def test_rows_are_chosen_by_the_arrow_keys_as_well(page: Page) -> None:
    page.click("#tab-row-best")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert shown(page, "#row-median")
    assert page.evaluate("document.activeElement.id") == "tab-row-median"


def test_markup_in_an_answer_does_nothing_but_be_read(page: Page) -> None:
    page.click("#tab-row-worst")
    assert page.evaluate("document.querySelector('#row-worst .diff').textContent.includes('<script>')")
    assert page.evaluate("document.title") == f"{NAME}: report of a distillation"


def test_equal_lines_can_be_hidden(page: Page) -> None:
    assert shown(page, "#row-best .diff .same")
    page.click("#row-best .only-changes")
    assert not shown(page, "#row-best .diff .same")
    assert shown(page, "#row-best .diff .changed")


def test_what_was_asked_unfolds(page: Page) -> None:
    page.click("#row-best summary")
    assert page.evaluate("document.querySelector('#row-best details').open")


def test_digests_are_shown_in_full_on_demand(page: Page) -> None:
    assert not shown(page, ".stage .digest .rest")
    page.click("#lineage button")
    assert shown(page, ".stage .digest .rest")
    assert page.evaluate("document.querySelector('.stage .digest').innerText.length") == 64


def test_a_command_is_copied_or_selected(page: Page) -> None:
    page.click("#next button")
    assert page.evaluate(CHANGED_WORD) in ("Copied", "Selected")


def test_every_link_of_the_contents_leads_somewhere(page: Page) -> None:
    for target in page.evaluate("[...document.querySelectorAll('nav a')].map((link) => link.hash)"):
        page.click(f"nav a[href='{target}']")
        assert page.evaluate("location.hash") == target


def test_marks_of_charts_have_tooltips(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('#training .chart title').length") >= 64
    colours = page.evaluate(
        "[...document.querySelectorAll('.chart [fill^=\"#a0\"]')].map((mark) => getComputedStyle(mark).fill)"
    )
    assert colours
    assert not [colour for colour in colours if colour.startswith("rgb(160, 0,")]


def test_every_column_has_its_heading(page: Page) -> None:
    widths = page.evaluate(
        "[...document.querySelectorAll('table')].filter((table) => table.getClientRects().length)"
        ".map((table) => ['thead tr', 'tbody tr'].map((row) => [...table.querySelector(row).cells]"
        ".filter((cell) => cell.getClientRects().length).length))"
    )
    assert len(widths) >= 5
    assert [pair for pair in widths if pair[0] != pair[1]] == []


@pytest.mark.parametrize("width", [320, 390, 768, 961, 1280])
def test_no_width_scrolls_sideways(page: Page, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    page.click("#tab-row-worst")
    page.click("#lineage button")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_in_light_and_dark(page: Page, scheme: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    worst = page.evaluate(CONTRAST)
    page.call("Emulation.setEmulatedMedia", features=[])
    assert worst[0] >= 4.5, worst


def test_the_page_is_read_without_its_script(page: Page, file: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(file.as_uri())
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert all(shown(page, f"#row-{place}") for place in ("best", "median", "worst"))


def test_it_prints(page: Page) -> None:
    paper = page.call("Page.printToPDF", printBackground=True)
    assert base64.b64decode(paper["data"]).startswith(b"%PDF")


# What the first button of the commands says once it does not say "Copy" any more.
CHANGED_WORD = """new Promise((done) => {
  const look = () => {
    const word = document.querySelector("#next button").textContent;
    word === "Copy" ? setTimeout(look, 5) : done(word);
  };
  look();
})"""

# The lowest contrast of any text (WCAG 2.2, 1.4.3) and where it is.
CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  let worst = [21, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.getClientRects().length || element.closest("svg, script")) continue;
    const [ink, back] = [parse(getComputedStyle(element).color), ground(element)].map(light);
    const contrast = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
    if (contrast < worst[0]) worst = [contrast, element.className + ": " + texts.currentNode.data.trim().slice(0, 40)];
  }
  return worst;
})()"""
