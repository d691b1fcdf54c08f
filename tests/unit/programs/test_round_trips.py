"""A program that comes back from its folder asks and answers as the one that was written: for any text and demos."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from program_cases import PROBES, SHAPES, Nested, Person, Verdict, asked_and_answered
from stillhouse.programs.document import program_bytes, read_program
from stillhouse.programs.dspy_modules import predictors_of
from stillhouse.programs.dspy_programs import capture, restore
from stillhouse.programs.folder import read_folder, write_program
from stillhouse.programs.program import Program

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", " ", "\n  indented\nnot", "Größe 大小 🙂", "a\r\nb\n", "\ttab", "[[ ## answer ## ]]", "{question}", "a\u2028b"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
PEOPLE = st.builds(Person, name=TEXT, born=st.none() | st.integers())
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "context": st.lists(TEXT, max_size=3),
    "verdict": st.builds(Verdict, holds=st.booleans(), people=st.lists(PEOPLE, max_size=2)) | JSON,
    "tags": st.lists(TEXT, max_size=3) | TEXT,
}


def drawn_demos(draw: st.DrawFn, predictor: dspy.Predict) -> list[Any]:
    demos = []
    for _ in range(draw(st.integers(0, 3))):
        names = draw(st.lists(st.sampled_from([*predictor.signature.fields]), unique=True))
        values = {name: draw(VALUES.get(name, TEXT)) for name in names}
        values |= draw(st.dictionaries(st.sampled_from(["augmented", "rationale", "note"]), JSON, max_size=2))
        if draw(st.booleans()):
            demos.append(values)
        else:
            example = dspy.Example(**values)
            demos.append(example.with_inputs(*names[:1]) if draw(st.booleans()) else example)
    return demos


def optimized(draw: st.DrawFn, shape: str) -> dspy.Module:
    """A module of that shape as some optimizer might have left it."""
    module = SHAPES[shape]()
    for predictor in predictors_of(module).values():
        signature = dspy.Signature(copy.deepcopy(predictor.signature.fields), "")
        signature.instructions = draw(TEXT)
        for field in signature.fields.values():
            field.json_schema_extra.update(prefix=draw(TEXT), desc=draw(TEXT))
        predictor.signature = signature
        predictor.demos = drawn_demos(draw, predictor)
    return module


def kept(module: dspy.Module) -> Program:
    return capture(module, role="quiz", role_version=3, probes=PROBES)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_comes_back_asks_and_answers_the_same(shape: str, data: st.DataObject) -> None:
    module = optimized(data.draw, shape)
    with TemporaryDirectory() as folder:
        write_program(Path(folder), kept(module), {"seed": 7})
        read, metadata = read_folder(Path(folder))

    restored = restore(read, SHAPES[shape]())

    assert asked_and_answered(restored) == asked_and_answered(module)
    assert kept(restored) == read
    assert program_bytes(kept(restored)) == program_bytes(read)
    assert metadata["seed"] == 7
    for before, after in zip(predictors_of(module).values(), predictors_of(restored).values(), strict=True):
        assert [type(demo) for demo in after.demos] == [type(demo) for demo in before.demos]
        assert after.demos == before.demos
        assert [_input_keys(demo) for demo in after.demos] == [_input_keys(demo) for demo in before.demos]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_bytes_of_a_program_are_read_as_that_program(data: st.DataObject) -> None:
    program = kept(optimized(data.draw, "typed"))
    written = program_bytes(program)
    assert read_program(written, source="p") == program
    assert program_bytes(read_program(written, source="p")) == written


def _input_keys(demo: Any) -> Any:
    return None if isinstance(demo, dict) else demo._input_keys


def test_predictors_have_the_names_that_dspy_gives_them() -> None:
    module = Nested()
    module.grid = [row[0] for row in module.grid]
    del module.named[3]
    assert [*predictors_of(module)] == [name for name, _ in module.named_predictors()]


def test_frozen_and_deeply_nested_predictors_are_among_them() -> None:
    assert [*predictors_of(SHAPES["frozen"]())] == ["compiled.draft", "compiled.decide.predict", "free"]
    assert {"grid[0][0]", "grid[1][0]", "named['judge']", "named[3]"} <= {*predictors_of(Nested())}


def test_what_is_frozen_stays_frozen_and_what_is_not_does_not() -> None:
    module = SHAPES["frozen"]()
    module.free._compiled = True
    module.compiled._compiled = False
    restored = restore(kept(module), SHAPES["frozen"]())
    assert (restored.free._compiled, restored.compiled._compiled) == (True, False)


def test_a_restored_module_shares_nothing_with_others_of_its_class() -> None:
    module = SHAPES["typed"]()
    module.signature = module.signature.with_updated_fields("tags", desc="three of them").with_instructions("Other.")
    fresh = SHAPES["typed"]()
    program = kept(module)
    restored = restore(program, SHAPES["typed"]())
    restored.demos.append({"question": "late"})
    assert kept(fresh) == kept(SHAPES["typed"]())
    assert program == kept(module)


def test_settings_of_a_predictor_come_back() -> None:
    module = SHAPES["nested"]()
    module.grid[0][0].update_config(temperature=0.9, n=1)
    restored = restore(kept(module), SHAPES["nested"]())
    assert restored.grid[0][0].config == {"temperature": 0.9, "n": 1}
    assert restored.grid[1][0].config == {"temperature": 0.5}


def test_what_dspy_keeps_of_decisions_comes_back() -> None:
    decision = {"answer": {"threshold": 0.7, "instructions": "Is it so?"}}
    module = dspy.Predict("question -> answer: bool")
    module.fields = decision
    restored = restore(kept(module), dspy.Predict("question -> answer: bool"))
    assert restored.fields == decision
