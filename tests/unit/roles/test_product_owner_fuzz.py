from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.product_owner.signature import ALIGNMENT_KEYS, OUTPUT_NAMES, REVIEW_KEYS, VISION_KEYS

SAMPLE = 300
FULL = 100_000

VISION = yaml.safe_dump(
    {key: ["clerks", "FR001: post"] for key in VISION_KEYS}
    | {"product_name": "Ledger", "product_summary": "A ledger for clerks.", "last_updated": "2025-11-01"}
)
REVIEW = yaml.safe_dump(
    {
        "status": "aligned",
        "summary": ["It fits."],
        "requirements_alignment": {key: [{"FR001": "post"}] for key in ALIGNMENT_KEYS},
        "recommended_actions": ["Ship it."],
        "narrative": "It fits the vision.",
    }
)
ANSWER = f"```yaml VISION\n{VISION}```\n```yaml REVIEW\n{REVIEW}```"
REQUIREMENTS = "functional_requirements:\n- {id: FR001, description: post}\nconstraints:\n- {id: C001}\n"
INPUTS = {"concept": "A ledger for the clerks of a bank", "requirements_yaml": REQUIREMENTS}
KEYS = [*VISION_KEYS, *REVIEW_KEYS, *ALIGNMENT_KEYS, "id", "description", "functional_requirements", "constraints"]
TOKENS = [
    *KEYS,
    *(f"{key}: " for key in KEYS),
    *("```", "``", "`", "~~~", "```yaml VISION\n", "```yaml REVIEW\n", "yaml", "VISION", "REVIEW", "---\n", "...\n"),
    *("\n", "\n\n", "\r\n", "\t", " ", "  ", "- ", "? ", ": ", "[", "]", "{", "}", ",", "#", "|\n", ">-\n", '"', "'"),
    *("&a ", "*a", "<<: *a\n", "!!int ", "!!set ", "!!binary ", "!!timestamp ", "%YAML 1.1\n", "~", "null", "yes"),
    *("2025-11-01", "2025-02-30", "2001-01-01 00:00:00 +99:99", "0x1F", "1:59:59", ".nan", "1e999", "9" * 50),
    *("FR001", "NFR001", "C9", "aligned", "None", "\x00", "\ufeff", "\ud800", "\u2028", "\x85", "é", "界", "🙂"),
]

fragments = st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=6)), max_size=40).map("".join)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
    st.text(max_size=30),
    st.sampled_from(TOKENS),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=20,
)
documents = st.dictionaries(st.sampled_from(KEYS), values, max_size=13).map(
    lambda value: yaml.safe_dump(value, allow_unicode=True)
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """`text` with a few pieces cut out, doubled, moved or replaced."""
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 60)))
        piece = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), fragments))
        text = text[:start] + piece + text[end:]
    return text


answers = st.one_of(fragments, st.text(max_size=200), mutated(ANSWER))
visions = st.one_of(documents, fragments, mutated(VISION))
reviews = st.one_of(documents, fragments, mutated(REVIEW))
requirements = st.one_of(documents, fragments, mutated(REQUIREMENTS))


def check_parser(answer: str) -> None:
    parsed = ROLE.parse(answer)
    assert set(parsed.outputs) <= set(OUTPUT_NAMES)
    known = answer.replace("\t", "  ").replace("`", "")
    for text in parsed.outputs.values():
        assert all(line in known for line in text.replace("`", "").split("\n"))
    ROLE.problems(parsed.outputs)
    for structured in (False, True):
        repair = ROLE.repair(INPUTS, parsed, structured=structured)
        assert set(repair.kept) | set(repair.wanted) == set(OUTPUT_NAMES)
        assert all(parsed.outputs[name] == text for name, text in repair.kept.items())
        schema = ROLE.response_schema(repair.wanted or OUTPUT_NAMES) if structured else None
        reply = ROLE.reply(repair.messages, schema, seed=1, careless=False)
        found = ROLE.parse_structured(reply) if structured else ROLE.parse(reply)
        assert set(found.outputs) == set(repair.wanted or OUTPUT_NAMES)


def check_judges(wanted: str, vision: str, review: str) -> None:
    inputs = {"concept": "A ledger for the clerks of a bank", "requirements_yaml": wanted}
    outputs = {"product_vision": vision, "product_owner_review": review}
    score = ROLE.score(inputs, outputs)
    assert len(score.parts) == 4
    assert all(0.0 <= points <= 30.0 for points in score.parts.values())
    assert math.isclose(score.score, sum(score.parts.values()) / 120)
    ROLE.guards(inputs, outputs, ROLE.guard_names)
    ROLE.labels(outputs)
    ROLE.detections({"planted_gaps": '["FR001"]', "planted_conflicts": '["FR001", "C001"]'}, outputs)
    if not ROLE.problems(outputs):
        canonical = ROLE.canonical(outputs)
        assert ROLE.canonical(canonical) == canonical
        assert ROLE.parse(ROLE.answer_text(canonical)).outputs == canonical


def run(count: int, check: Callable[..., None], **given_values: Any) -> None:
    limits = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    limits(given(**given_values)(check))()


def test_the_parser_never_raises_or_invents_on_a_sample() -> None:
    run(SAMPLE, check_parser, answer=answers)


def test_metric_guards_and_models_never_raise_on_a_sample() -> None:
    run(SAMPLE, check_judges, wanted=requirements, vision=visions, review=reviews)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_parser_never_raises_or_invents() -> None:
    run(FULL, check_parser, answer=answers)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_metric_guards_and_models_never_raise() -> None:
    run(FULL, check_judges, wanted=requirements, vision=visions, review=reviews)
