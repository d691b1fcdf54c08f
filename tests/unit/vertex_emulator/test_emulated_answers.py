"""What the scripted model answers: always the same, as often wrong as it is told, within the limits of the request."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from stillhouse.roles.role import Message, Role, load_role
from stillhouse.vertex_emulator.answers import ScriptedModel
from stillhouse.vertex_emulator.faults import Ending
from stillhouse.vertex_emulator.prompt import Prompt, token_count

TWO_BLOCKS = """\
```yaml FIRST
name: A thing of some length
items:
- "one item"
```
```yaml SECOND
status: good
```"""


class TwoBlocks:
    """Answers with two blocks or two properties, whatever it is asked."""

    def reply(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, *, seed: int, careless: bool) -> str:
        if schema is not None:
            return json.dumps({"first": {"name": "A thing"}, "second": {"status": "good"}}, indent=1)
        return f"{TWO_BLOCKS}\n# {seed}" if not careless else TWO_BLOCKS.replace("good", "poor")


def scripted(*, recorded: bool = True, seed: int = 7) -> ScriptedModel:
    return ScriptedModel(cast("Role", TwoBlocks()), seed=seed, recorded_faults=recorded)


def prompt(number: int, model: str = "gemini-2.5-flash", *, repair: bool = False, **fields: Any) -> Prompt:
    turns = [Message("user", f"Concept {number}")]
    if repair:
        turns += [Message("assistant", "```yaml FIRST\nname: A\n```"), Message("user", "SECOND is missing")]
    return Prompt(model, tuple(turns), **fields)


def shares(prompts: Sequence[Prompt]) -> Counter[str]:
    model = scripted()
    found: Counter[str] = Counter()
    for each in prompts:
        found.update(model.answer(each).faults)
    return Counter({name: count / len(prompts) for name, count in found.items()})  # type: ignore[arg-type]


def test_the_same_prompt_gets_the_same_answer_from_another_server_of_the_same_seed() -> None:
    assert [scripted().answer(prompt(number)) for number in range(50)] == [
        scripted().answer(prompt(number)) for number in range(50)
    ]


def test_another_seed_gives_other_answers() -> None:
    prompts = [prompt(number) for number in range(50)]
    assert [scripted(seed=1).answer(each) for each in prompts] != [scripted(seed=2).answer(each) for each in prompts]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gemini-2.5-pro"},
        {"messages": (Message("user", "Concept 2"),)},
        {"schema": {"type": "object"}},
        {"max_output_tokens": 100},
        {"thinking_budget": 0},
        {"temperature": 0.5},
        {"seed": 3},
        {"extra": "0a"},
    ],
)
def test_whatever_a_request_says_makes_it_another_question(change: dict[str, Any]) -> None:
    assert dataclasses.replace(prompt(1), **change).digest != prompt(1).digest


@pytest.mark.parametrize(
    ("model", "missing", "careless"),
    [("gemini-2.5-flash", 0.35, 0.25), ("gemini-2.5-pro", 0.80, 0.05), ("gemini-2.5-flash-lite", 0.45, 0.25)],
)
def test_faults_come_at_the_recorded_rates(model: str, missing: float, careless: float) -> None:
    found = shares([prompt(number, model) for number in range(2000)])
    assert found["missing"] == pytest.approx(missing, abs=0.04)
    assert found["careless"] == pytest.approx(careless, abs=0.04)
    assert found["malformed"] == pytest.approx(0.03, abs=0.015)
    assert found["truncated"] == pytest.approx(0.02, abs=0.012)
    assert found["safety"] == pytest.approx(0.01, abs=0.008)
    assert found["recitation"] == pytest.approx(0.005, abs=0.005)
    assert found["empty"] == pytest.approx(0.005, abs=0.005)


def test_repairs_are_answered_rightly_in_two_of_three() -> None:
    found = shares([prompt(number, "gemini-2.5-pro", repair=True) for number in range(2000)])
    assert set(found) == {"missing"}
    assert found["missing"] == pytest.approx(0.35, abs=0.04)


def test_a_schema_makes_missing_outputs_a_third_as_frequent() -> None:
    schema = {"type": "object"}
    found = shares([prompt(number, "gemini-2.5-pro", schema=schema) for number in range(2000)])
    assert found["missing"] == pytest.approx(0.80 / 3, abs=0.04)


def test_without_faults_every_answer_is_whole() -> None:
    for number in range(200):
        answer = scripted(recorded=False).answer(prompt(number))
        assert answer.text.startswith(TWO_BLOCKS)
        assert (answer.ending, answer.faults) == (Ending.STOP, ())


def test_a_missing_block_is_the_last_one() -> None:
    answers = [scripted().answer(prompt(number)) for number in range(100)]
    lacking = [answer for answer in answers if answer.faults == ("missing",)]
    assert lacking
    assert all("FIRST" in answer.text and "SECOND" not in answer.text for answer in lacking)


def test_a_missing_property_is_the_last_one() -> None:
    answers = [scripted().answer(prompt(number, schema={"type": "object"})) for number in range(100)]
    lacking = [answer for answer in answers if answer.faults == ("missing",)]
    assert lacking
    assert all(list(json.loads(answer.text)) == ["first"] for answer in lacking)


def test_a_blocked_answer_has_no_text_and_is_billed_for_its_thoughts() -> None:
    answers = [scripted().answer(prompt(number)) for number in range(500)]
    blocked = [answer for answer in answers if answer.ending is Ending.SAFETY]
    assert blocked
    assert all(answer.text == "" and answer.text_tokens == 0 and answer.thinking_tokens > 0 for answer in blocked)


def test_thinking_counts_towards_the_limit() -> None:
    whole = scripted(recorded=False).answer(prompt(1))
    assert whole.thinking_tokens > 200
    cut = scripted(recorded=False).answer(prompt(1, max_output_tokens=whole.thinking_tokens + 5, thinking_budget=None))
    assert cut.ending is Ending.LENGTH
    assert cut.output_tokens <= whole.thinking_tokens + 5
    assert whole.text.startswith(cut.text)


def test_a_limit_below_the_thinking_leaves_no_text() -> None:
    answer = scripted(recorded=False).answer(prompt(1, "gemini-2.5-pro", max_output_tokens=50))
    assert (answer.text, answer.ending, answer.output_tokens) == ("", Ending.LENGTH, 50)


@pytest.mark.parametrize(("budget", "most"), [(0, 0), (100, 100)])
def test_a_thinking_budget_is_kept(budget: int, most: int) -> None:
    answer = scripted(recorded=False).answer(prompt(1, thinking_budget=budget))
    assert answer.thinking_tokens == most
    assert answer.text_tokens == token_count(answer.text)


def test_pro_thinks_more_than_flash_and_flash_lite_not_at_all() -> None:
    models = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")
    pro, flash, lite = (scripted(recorded=False).answer(prompt(1, model)).thinking_tokens for model in models)
    assert pro >= 600
    assert 200 < flash < 600
    assert lite == 0


def test_a_truncated_answer_has_used_all_of_its_limit() -> None:
    for budget in (None, 0):
        prompts = [prompt(number, max_output_tokens=2048, thinking_budget=budget) for number in range(300)]
        cut = [answer for answer in map(scripted().answer, prompts) if answer.faults == ("truncated",)]
        assert cut
        assert all(answer.ending is Ending.LENGTH and answer.output_tokens == 2048 for answer in cut)


def test_latency_is_log_normal_about_its_median() -> None:
    model = scripted()
    seconds = sorted(model.latency_seconds(prompt(number), 10.0) for number in range(2001))
    assert seconds[1000] == pytest.approx(10.0, rel=0.05)
    assert seconds[1900] == pytest.approx(17.8, rel=0.1)
    assert model.latency_seconds(prompt(1), 0.0) == 0.0


def test_the_product_owner_is_broken_by_every_fault_and_whole_without() -> None:
    role = load_role("product_owner")
    model = ScriptedModel(role, seed=3, recorded_faults=True)
    seen: Counter[str] = Counter()
    for number, example in enumerate(role.examples(count=60, seed=1, planted=0.3)):
        structured = number % 2 == 0
        answer = model.answer(
            Prompt(
                "gemini-2.5-flash",
                tuple(role.teacher_messages(example.inputs, structured=structured)),
                role.response_schema(role.output_fields) if structured else None,
            )
        )
        parsed = role.parse_structured(answer.text) if structured else role.parse(answer.text)
        valid = not role.problems(parsed.outputs)
        assert valid == (set(answer.faults) <= {"careless"}), answer
        if valid:
            assert (role.score(example.inputs, parsed.outputs).score < 0.8) == ("careless" in answer.faults)
        seen.update(answer.faults or ("whole",))
    assert seen["whole"] > 15
    assert seen["missing"] > 5
