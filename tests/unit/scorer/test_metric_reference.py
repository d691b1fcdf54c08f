"""A metric of the user's own: found by name, and held to its promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.roles.metric_reference import load_metric, metric_digest
from stillhouse.roles.role import MetricScore

MODULE = """
from stillhouse.roles.role import MetricScore
def plain(inputs, outputs): return len(outputs) / 4
def parted(inputs, outputs): return MetricScore(1.0, {"a": 30.0})
def whole(inputs, outputs): return 1
def broken(inputs, outputs): raise KeyError("vision")
def text(inputs, outputs): return "high"
def above(inputs, outputs): return 1.5
def nan(inputs, outputs): return float("nan")
def truth(inputs, outputs): return True
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_metric_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_bad.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_float_or_a_metric_score_is_taken(module: str) -> None:
    assert load_metric(f"{module}:plain")({}, {"a": "x"}) == MetricScore(0.25, {})
    assert load_metric(f"{module}:whole")({}, {}) == MetricScore(1.0, {})
    assert load_metric(f"{module}:parted")({}, {}) == MetricScore(1.0, {"a": 30.0})


@pytest.mark.parametrize("name", ["broken", "text", "above", "nan", "truth"])
def test_a_metric_that_fails_or_returns_no_score_is_an_error_that_names_it(module: str, name: str) -> None:
    metric = load_metric(f"{module}:{name}")
    with pytest.raises(InvalidArgument, match=f":{name}' (failed|returned)"):
        metric({}, {})


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [("", "form module:function"), (":", "form"), (":absent", "no function"), (":number", "no function")],
)
def test_a_reference_to_no_function_is_refused(module: str, suffix: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        load_metric(module + suffix)


def test_a_module_that_is_absent_or_fails_is_named_with_the_remedy(module: str) -> None:
    with pytest.raises(InvalidArgument, match=r"'no_such_module' can't be imported .*PYTHONPATH"):
        load_metric("no_such_module:metric")
    with pytest.raises(InvalidArgument, match="ZeroDivisionError"):
        load_metric(f"{module}_bad:metric")
    with pytest.raises(InvalidArgument, match="form"):
        load_metric("../evil:metric")


def test_an_edited_metric_has_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for number, source in enumerate(("def good(i, o): return 1.0\n", "def good(i, o): return 0.5\n")):
        (tmp_path / f"edited_{number}.py").write_text(source, encoding="utf-8")
        digests.append(metric_digest(f"edited_{number}:good"))
    assert len({*digests}) == 2
    assert all(len(digest) == 16 for digest in digests)


@pytest.mark.parametrize("module", ["math", "no_such_module"])
def test_a_metric_without_source_has_no_digest(module: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the source of '{module}' can't be read"):
        metric_digest(f"{module}:sqrt")
