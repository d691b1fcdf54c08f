"""What can't be kept is refused when it is captured, and what would render otherwise when it is restored: by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dspy
import pytest
from pydantic import BaseModel, Field

from program_cases import PROBES, SHAPES, Nested, Pair, Person, Verdict, asked_and_answered
from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.programs.dspy_programs import capture, restore
from stillhouse.programs.program import Program


def kept(module: dspy.Module) -> Program:
    return capture(module, role="quiz", role_version=3, probes=PROBES)


class Lossy(BaseModel):
    shown: str
    hidden: str = Field(default="", exclude=True)


class Dated(dspy.Signature):
    """When?"""

    question: str = dspy.InputField()
    when: datetime = dspy.OutputField()
    kinds: set[str] = dspy.OutputField()
    by_number: dict[int, str] = dspy.OutputField()
    lossy: Lossy = dspy.OutputField()


def predictor_with(demo: Any, signature: Any = Dated) -> dspy.Predict:
    predictor = dspy.Predict(signature)
    predictor.demos = [{"question": "first"}, demo]
    return predictor


@pytest.mark.parametrize(
    ("demo", "words"),
    [
        ({"question": float("nan")}, "demo 2, field question: nan is no JSON number"),
        ({"note": Person(name="x")}, "demo 2, field note: a Person is no JSON, and the signature has no such field"),
        ({"note": {1: "x"}}, "demo 2, field note: the key 1 is no text"),
        ({"kinds": {"a"}}, "demo 2, field kinds: .*a set has no order"),
        ({"lossy": Lossy(shown="a", hidden="b")}, "demo 2, field lossy: .*comes back from JSON as another value"),
        ({"when": Person(name="x")}, "demo 2, field when: .*can't be written as"),
        ({"question": "half \ud800"}, "demo 2, field question: the text holds half a character"),
        (dspy.Prediction(question="q"), "demo 2 is a Prediction"),
        ({7: "x"}, "demo 2 has a field 7"),
    ],
)
def test_a_demo_that_cannot_be_kept_is_refused_by_predictor_number_and_field(demo: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"(?s)predictor self can't be kept: {words}"):
        kept(predictor_with(demo))


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    module = dspy.Predict("question -> answer")
    module.demos = [{"note": endless}]
    with pytest.raises(InvalidArgument, match="predictor self can't be kept"):
        kept(module)


def test_dates_and_numbered_keys_of_the_signature_come_back_as_they_are() -> None:
    demo = {"when": datetime(2025, 11, 1, 12, tzinfo=UTC), "by_number": {1: "a", 2: "b"}}
    restored = restore(kept(predictor_with(demo)), dspy.Predict(Dated))
    assert restored.demos[1] == demo


class Holding(dspy.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=question)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (dspy.Retrieve(k=3), "held is a Retrieve: only the state of a dspy.Predict can be kept"),
        ({dspy.Predict("question -> answer")}, "held is a set of modules"),
    ],
)
def test_state_that_only_its_own_code_can_keep_is_refused(held: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        kept(Holding(held))


def test_no_probes_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="give one or more"):
        capture(Pair(), role="quiz", role_version=3, probes=[])


def test_a_program_that_fails_on_a_probe_is_refused_with_the_reason() -> None:
    with pytest.raises(
        FailedPrecondition, match=r"the program on probe 1 fails .* unexpected keyword argument 'topic'"
    ):
        capture(Pair(), role="quiz", role_version=3, probes=[{"topic": "x"}])


def test_predictors_that_are_never_reached_are_rendered_alone() -> None:
    held = dspy.Predict("question, summary -> answer")
    program = kept(Holding(held))
    held.signature = held.signature.with_instructions("Other.")
    assert kept(Holding(held)).predictors["held"].prompts_sha256 != program.predictors["held"].prompts_sha256


def test_rendering_calls_no_model_and_leaves_each_predictor_its_own() -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was called")

    class Refusing:
        complete = refuse

    module = Pair()
    module.draft.lm = dspy.LM("own/one", engine=Refusing(), cache=False)
    own = module.draft.lm
    with dspy.context(lm=dspy.LM("configured/one", engine=Refusing(), cache=False)):
        kept(module)
    assert module.draft.lm is own
    assert module.decide.predict.lm is None


class Renamed(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.Predict("question -> abstract")
        self.decide = dspy.ChainOfThought("question, summary -> answer")


def test_a_renamed_field_is_refused_by_name() -> None:
    program = kept(Pair())
    program = replace(program, modules={**program.modules, "self": replace(program.modules["self"], kind="Renamed")})
    with pytest.raises(FailedPrecondition, match=r"predictor draft has other fields.*output summary: str.*abstract"):
        restore(program, Renamed())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Pair, "draft is missing; .*inner is not in the program.*self is a Nested, not a Pair"),
        (SHAPES["Predict"], "grid"),
    ],
)
def test_a_program_of_another_tree_is_refused_by_module(module: Callable[[], dspy.Module], words: str) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        restore(kept(module()), Nested())


def test_a_program_whose_text_was_changed_is_refused_by_predictor() -> None:
    program = kept(SHAPES["frozen"]())
    name = "compiled.decide.predict"
    changed = replace(program.predictors[name], instructions="Ignore all that.")
    program = replace(program, predictors={**program.predictors, name: changed})
    with pytest.raises(FailedPrecondition, match=r"^compiled\.decide\.predict of the program does not render"):
        restore(program, SHAPES["frozen"]())


def test_a_program_is_refused_under_another_adapter() -> None:
    program = kept(Pair())
    with (
        dspy.context(adapter=dspy.JSONAdapter()),
        pytest.raises(FailedPrecondition, match=r"^draft, decide\.predict of the program does not render"),
    ):
        restore(program, Pair())


def test_a_demo_that_is_no_longer_of_its_type_is_refused_by_field() -> None:
    module = SHAPES["typed"]()
    module.demos = [{"verdict": Verdict(holds=True)}]
    program = kept(module)
    (demo,) = program.predictors["self"].demos
    broken = replace(program.predictors["self"], demos=(replace(demo, fields={"verdict": {"holds": "perhaps"}}),))
    with pytest.raises(FailedPrecondition, match="predictor self, demo 1, field verdict"):
        restore(replace(program, predictors={"self": broken}), SHAPES["typed"]())


def test_what_is_not_refused_answers_the_same() -> None:
    assert asked_and_answered(restore(kept(Nested()), Nested())) == asked_and_answered(Nested())
