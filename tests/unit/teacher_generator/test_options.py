"""A request's options: what they become, and which field a refusal names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from program_folders import demos, product_owner_program
from quiz_role import QuizRole
from stillhouse.artifacts.store import Store
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.programs.document import program_bytes
from stillhouse.roles.product_owner import ROLE
from stillhouse.teacher_generator.estimate import estimate
from stillhouse.teacher_generator.options import options_of
from stillhouse.teachers.dialogue import Prompt
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.dataset_builder_pb2 import BalanceTarget, DatasetImport
from stillhouse.v1.teacher_generator_pb2 import WHEN_EXHAUSTED_SECOND_ANSWER, GenerateRecordsRequest, TeacherStage
from stillhouse.v1.teacher_pb2 import (
    TEACHER_PROMPT_FENCED,
    TEACHER_PROMPT_PLAIN,
    TEACHER_PROMPT_STRUCTURED,
    ModelPrice,
    TeacherModel,
)


def request(*stages: TeacherStage, **fields: object) -> GenerateRecordsRequest:
    usual = {"role": RoleReference(name="quiz", version=3), "seed": 42, **fields}
    return GenerateRecordsRequest(stages=stages or [asking()], **usual)


def asking(
    *, min_score: float = 0.8, attempts: int = 2, until: int = 10, name: str = "", **model: object
) -> TeacherStage:
    usual = {"provider": "vertex", "model": "gemini-2.5-flash", "prompt": TEACHER_PROMPT_FENCED, "temperature": 0.7}
    teacher = TeacherModel(**{**usual, "max_output_tokens": 1000, **model})
    return TeacherStage(name=name, teacher=teacher, min_score=min_score, attempts=attempts, until=until)


def test_a_request_becomes_its_options() -> None:
    recorded = TeacherStage(min_score=0.5, records=3)
    getattr(recorded, "import").CopyFrom(DatasetImport(model="pro"))
    options = options_of(
        request(
            asking(name="pro", prompt=TEACHER_PROMPT_STRUCTURED),
            recorded,
            guards=["echo"],
            balance=[BalanceTarget(label="tier", value="simple", max_records=5)],
            when_exhausted=WHEN_EXHAUSTED_SECOND_ANSWER,
        ),
        QuizRole(),
    )
    first, second = options.stages
    assert (first.name, first.until, first.min_score) == ("pro", 10, 0.8)
    assert first.manner is not None
    assert (first.manner.prompt, first.manner.attempts) == (Prompt.STRUCTURED, 2)
    assert (second.name, second.records, second.model) == ("import", 3, None)
    assert (options.guards, options.second_answers, options.seed) == (("echo",), True, 42)
    assert (options.balance[0].label, options.balance[0].value, options.balance[0].max_records) == ("tier", "simple", 5)


def test_a_stage_without_a_name_is_called_by_its_model() -> None:
    assert options_of(request(asking()), QuizRole()).stages[0].name == "gemini-2.5-flash"


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        (asking(min_score=1.1), "stages[1].min_score"),
        (asking(min_score=float("nan")), "stages[1].min_score"),
        (asking(until=-1), "stages[1].records"),
        (asking(attempts=0), "stages[1].attempts"),
        (asking(prompt=0), "stages[1].teacher.prompt"),
        (asking(temperature=-0.1), "stages[1].teacher.temperature"),
        (asking(max_output_tokens=0), "stages[1].teacher.max_output_tokens"),
        (TeacherStage(min_score=0.5), "stages[1]"),
    ],
)
def test_a_refused_stage_names_its_field(stage: TeacherStage, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        options_of(request(asking(), stage), QuizRole())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda wrong: wrong.ClearField("stages"), "stages"),
        (lambda wrong: wrong.guards.append("none_such"), "guards"),
        (lambda wrong: wrong.balance.add(label="a", value="b", max_records=0), "balance"),
        (lambda wrong: wrong.balance.extend([BalanceTarget(label="a", value="b", max_records=1)] * 2), "balance"),
        (lambda wrong: setattr(wrong, "metric", "no.such:thing"), "metric"),
    ],
)
def test_a_refused_request_names_its_field(change: Callable[[GenerateRecordsRequest], object], field: str) -> None:
    wrong = request()
    change(wrong)
    with pytest.raises(InvalidArgument) as caught:
        options_of(wrong, QuizRole())
    assert caught.value.field == field


def test_a_request_for_another_version_of_the_role_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="plan the run again") as caught:
        options_of(request(role=RoleReference(name="quiz")), QuizRole())
    assert caught.value.field == "role.version"


INPUTS = [{"question": "x" * 4000}] * 30


def test_an_estimate_goes_from_good_answers_to_answers_as_recorded() -> None:
    [found] = estimate(request(asking(thinking_budget=0)), QuizRole(), INPUTS)
    assert (found.records, found.calls) == (10, (10, 25))
    assert found.prompt_tokens == pytest.approx(1000, rel=0.05)
    assert found.output_tokens == 900
    assert found.cost_usd is not None
    low, high = found.cost_usd
    assert low == pytest.approx(10 * (found.prompt_tokens * 0.30 + 900 * 2.50) / 1e6)
    assert high == pytest.approx(2.5 * low)


def test_an_estimate_has_no_more_records_than_concepts() -> None:
    [found] = estimate(request(asking(until=400)), QuizRole(), INPUTS)
    assert found.records == 30
    twice = request(asking(until=400), when_exhausted=WHEN_EXHAUSTED_SECOND_ANSWER)
    assert estimate(twice, QuizRole(), INPUTS)[0].records == 60


def test_estimates_of_stages_follow_one_another_and_never_go_below_nothing() -> None:
    stages = [asking(name="a", until=20), asking(name="b", until=5), asking(name="c", until=25)]
    assert [found.records for found in estimate(request(*stages), QuizRole(), INPUTS)] == [20, 0, 5]


def test_an_unknown_price_is_said_and_an_own_price_is_used() -> None:
    [found] = estimate(request(asking(model="nobody-knows")), QuizRole(), INPUTS)
    assert found.cost_usd is None
    own = ModelPrice(model="nobody-knows", input_per_million_usd=0, output_per_million_usd=1)
    [found] = estimate(request(asking(model="nobody-knows", thinking_budget=0), prices=[own]), QuizRole(), INPUTS)
    assert found.cost_usd == pytest.approx((10 * 900 / 1e6, 25 * 900 / 1e6))


def test_an_estimate_counts_the_instructions_and_demos_of_a_program() -> None:
    store = Store.open("memory://estimated")
    shown = product_owner_program(shown=demos(3))
    program = store.put_bytes(program_bytes(shown), name="program.json")
    role = RoleReference(name=ROLE.name, version=ROLE.version)
    inputs = [example.inputs for example in ROLE.examples(count=3, seed=1)]
    plain, with_program = (
        estimate(request(asking(prompt=TEACHER_PROMPT_PLAIN, **named), role=role), ROLE, inputs, store)[0]
        for named in ({}, {"program": program})
    )
    written = sum(len(str(text)) for demo in shown.predictors["generate"].demos for text in demo.fields.values())
    assert with_program.prompt_tokens > plain.prompt_tokens + 0.8 * written / 4
    assert plain.cost_usd is not None
    assert with_program.cost_usd is not None
    assert with_program.cost_usd > plain.cost_usd
