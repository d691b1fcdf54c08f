"""Text that is broken, hostile or odd never raises and never takes long."""

from __future__ import annotations

import time

import pytest
import yaml

from stillhouse.roles.product_owner import metric
from unit.roles.metric_answers import ABSENT, REVIEW, changed, parts, specificity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "~",
        "just text",
        "- a\n- b",
        "a: b: c",
        "last_updated: 2025-02-30",
        "a: 2001-01-01 00:00:00 +99:99",
        "a: [1, 2",
        "\x00",
        "\ud800",
        "a: !!python/object:os.system x",
        "a: 1\n---\nb: 2",
        "[" * 5000,
        "x: " + "9" * 5000,
        "? [a]\n: b",
        "a: &a [*a]",
        "summary: [0x" + "f" * 4200 + "]",
        "summary: !!set {a, b}",
        "summary: !!binary aGk=",
        "narrative: .nan",
        "summary: [{a: 1}, [b], .inf, 2001-01-01]",
    ],
)
def test_bad_text_never_raises(text: str) -> None:
    for where in ({"vision": text}, {"review": text}, {"requirements": text}):
        assert all(0.0 <= points <= 30.0 for points in parts(**where).values())
    score = metric.score({"requirements_yaml": text}, {"product_vision": text, "product_owner_review": text})
    assert 0.0 <= score.score <= 1.0


def test_values_that_are_no_text_count_as_absent() -> None:
    nothing = {"product_vision": None, "product_owner_review": 7}
    assert metric.score({"requirements_yaml": []}, nothing).score == metric.score({}, {}).score  # type: ignore[arg-type,dict-item]


def test_text_that_would_expand_without_bound_is_read_as_empty() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    merges = "m0: &m0 {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 60))
    web = (
        "w: &w [" + ", ".join(f"&w{n} [{', '.join(['*w', *(f'*w{k}' for k in range(n))])}]" for n in range(30)) + "]\n"
    )
    sixties = "a: 1" + ":59" * 60_000
    started = time.process_time()
    for bomb in (laughs + "summary: [*a59]", merges, web + "summary: [*w]", sixties, "x" * 300_000):
        assert metric.score({"requirements_yaml": bomb}, {"product_owner_review": bomb}).score <= 30 / 16 / 120
    assert time.process_time() - started < 20


def test_an_alias_that_stays_small_is_read() -> None:
    review = "x: &x [FR001, FR001]\n" + yaml.safe_dump(changed(REVIEW, summary=ABSENT)) + "summary: *x\n"
    assert parts(review=review)["review_specificity"] == 30.0
    merged = "base: &base {aligned: [], gaps: []}\nrequirements_alignment: {<<: *base, conflicts: []}\n"
    assert specificity() == 0.0
    assert parts(review=merged)["review_specificity"] == 4.0
