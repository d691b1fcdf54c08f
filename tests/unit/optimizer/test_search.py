"""Whole optimisations by a scripted model: honest from the first row, replayed, and stopped by what stops them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import dspy
import pytest
from dspy import lm15

from scripted_subject import (
    IMPROVABLE,
    QuizPair,
    QuizPredict,
    ScriptedSubject,
    at_random,
    by_request,
    half_readable,
    improvable,
    optimized,
)
from stillhouse.artifacts.store import Store
from stillhouse.errors import Cancelled, DataLoss, FailedPrecondition, Unavailable
from stillhouse.optimizer.options import Optimizer
from stillhouse.programs.document import program_bytes
from stillhouse.v1.common_pb2 import Progress


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def is_row(fields: Sequence[str]) -> bool:
    """Whether a program's own answer is asked for, and no proposal."""
    return not {"answer", "comment"}.isdisjoint(fields)


def silent_proposals(text: str, fields: Sequence[str]) -> str:
    return by_request(text, fields) if is_row(fields) else ""


@pytest.mark.parametrize("program", [QuizPredict, QuizPair])
@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_run_by_a_sampling_model_is_replayed_without_a_call(
    store: Store, optimizer: Optimizer, program: Callable[[], dspy.Module]
) -> None:
    first = optimized(store, ScriptedSubject(at_random), optimizer=optimizer, program=program)
    subject = ScriptedSubject(at_random)
    again = optimized(store, subject, optimizer=optimizer, program=program)
    assert subject.asked == []
    assert program_bytes(again.program) == program_bytes(first.program)
    assert again.usage.calls == again.usage.from_log == first.usage.calls
    scores = [[each.score for each in run.found.evaluations] for run in (first, again)]
    assert scores[0] == scores[1]
    assert all(0 <= score <= 1 for score in scores[0])


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_the_same_seed_makes_the_same_program_of_the_same_answers(tmp_path: Path, optimizer: Optimizer) -> None:
    runs = [
        optimized(Store.open(str(tmp_path / name)), ScriptedSubject(), optimizer=optimizer, threads=threads)
        for name, threads in (("one", 1), ("other", 4))
    ]
    assert program_bytes(runs[0].program) == program_bytes(runs[1].program)


def test_each_seed_makes_a_search_of_its_own_zero_among_them(tmp_path: Path) -> None:
    asked = set()
    for seed in (0, 1, 9):
        subject = ScriptedSubject()
        optimized(Store.open(str(tmp_path / str(seed))), subject, seed=seed)
        asked.add(frozenset(subject.asked))
    assert len(asked) == 3


def test_the_baseline_comes_first_and_the_best_is_at_least_as_good(store: Store) -> None:
    subject = ScriptedSubject(improvable)
    found = optimized(store, subject, **IMPROVABLE).found
    assert all("What is 10" in text for text in subject.asked[:8])
    assert found.baseline is found.evaluations[0]
    assert (found.baseline.score, found.best.score) == (0.5, 1.0)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_every_optimizer_tries_instructions_or_demos_of_its_own(store: Store, optimizer: Optimizer) -> None:
    found = optimized(store, ScriptedSubject(), optimizer=optimizer, trials=5).found
    tried = {
        (predictor.signature.instructions, str(predictor.demos))
        for each in found.evaluations
        for _, predictor in each.program.named_predictors()
    }
    assert len(tried) > 2


def test_trials_are_minibatches_and_what_counts_is_all_rows(store: Store) -> None:
    found = optimized(store, ScriptedSubject(), minibatch=True, minibatch_size=3, minibatch_full_eval_steps=2).found
    assert {(each.full, each.rows) for each in found.evaluations} == {(True, 8), (False, 3)}
    assert found.best.full


def test_a_search_that_has_tried_everything_ends_with_the_best_of_it(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    few = {"instruction_candidates": 2, "demo_candidates": 2, "max_bootstrapped_demos": 0, "trials": 8}
    first = optimized(store, ScriptedSubject(), minibatch=True, minibatch_size=3, minibatch_full_eval_steps=1, **few)
    assert len({str(each.program.dump_state()) for each in first.found.evaluations if each.full}) == 2
    assert first.found.best.score == max(each.score for each in first.found.evaluations if each.full)
    assert not first.found.ended_by
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "reason", "remedy"),
    [
        ("", "no answer 8", "more max_tokens"),
        ("I'd rather not.", "unreadable answer 8", "role's grammar"),
        (lm15.ContextLengthError("4096 tokens"), "the prompt does not fit 8", "more context a slot"),
        (lm15.TimeoutError("no answer within 600 s"), "no answer in time 8", "fewer rows at a time"),
        (lm15.InvalidRequestError("no such model"), "refused 8", "message says why"),
    ],
    ids=["nothing", "unreadable", "too long", "too slow", "refused"],
)
def test_a_baseline_that_cannot_be_read_ends_it_before_trials_are_spent(
    store: Store, answer: str | Exception, reason: str, remedy: str
) -> None:
    def script(text: str, fields: Sequence[str]) -> str:
        if isinstance(answer, Exception):
            raise answer
        return answer

    subject = ScriptedSubject(script)
    with pytest.raises(FailedPrecondition, match=f"0 of 8 answers .* 50% are wanted .*{reason}.*{remedy}"):
        optimized(store, subject)
    assert len(subject.asked) == 8


def test_the_floor_of_readable_answers_is_inclusive_and_failed_rows_are_shown(store: Store) -> None:
    found = optimized(store, ScriptedSubject(half_readable), min_baseline_valid=0.5).found
    assert found.baseline.valid_rate == 0.5
    assert found.baseline.failures == {"unreadable answer": 4}
    with pytest.raises(FailedPrecondition, match="4 of 8 answers"):
        optimized(store, ScriptedSubject(half_readable), min_baseline_valid=0.51)


@pytest.mark.parametrize("optimizer", [Optimizer.MIPRO_V2, Optimizer.GEPA])
def test_an_optimizer_without_proposals_fails_and_names_the_remedy(store: Store, optimizer: Optimizer) -> None:
    with pytest.raises(FailedPrecondition, match=f"{optimizer} failed .*larger prompt model"):
        optimized(store, ScriptedSubject(silent_proposals), optimizer=optimizer)


def test_another_prompt_model_proposes_where_the_first_says_nothing(store: Store) -> None:
    prompt = ScriptedSubject()
    subject = ScriptedSubject(silent_proposals)
    optimized(store, subject, prompt=prompt)
    assert prompt.asked
    assert not any("proposed_instruction" in text for text in subject.asked)


def test_proposals_of_a_small_model_need_no_markers(store: Store) -> None:
    said = "Be brief, and count on your fingers."

    def script(text: str, fields: Sequence[str]) -> str:
        return by_request(text, fields) if is_row(fields) else said

    found = optimized(store, ScriptedSubject(script), trials=6).found
    instructions = {each.program.reply.signature.instructions for each in found.evaluations}
    assert said in instructions


def test_nothing_of_this_process_is_in_a_prompt(store: Store) -> None:
    subject = ScriptedSubject()
    optimized(store, subject, program=QuizPair)
    asked = "\n".join(subject.asked)
    assert "class QuizPair" in asked, "MIPROv2 shows the program's source"
    assert not re.search(r"0x[0-9a-f]{6,}", asked)
    assert str(Path.home()) not in asked


def test_a_model_that_goes_away_ends_the_run_and_the_same_run_goes_on(store: Store) -> None:
    calls_left = 20

    def failing(text: str, fields: Sequence[str]) -> str:
        nonlocal calls_left
        calls_left -= 1
        if calls_left < 0:
            raise Unavailable("the student is away")
        return by_request(text, fields)

    with pytest.raises(Unavailable, match="away"):
        optimized(store, ScriptedSubject(failing))
    whole, rest = ScriptedSubject(), ScriptedSubject()
    resumed = optimized(store, rest)
    fresh = optimized(Store.open(store.uri + "-fresh"), whole)
    assert len(rest.asked) == len(whole.asked) - 20
    assert program_bytes(resumed.program) == program_bytes(fresh.program)


def test_a_stopped_run_is_cancelled_and_goes_on_later(store: Store) -> None:
    stopping = Event()

    def script(text: str, fields: Sequence[str]) -> str:
        if len(subject.asked) == 15:
            stopping.set()
        return by_request(text, fields)

    subject = ScriptedSubject(script)
    with pytest.raises(Cancelled, match="the same command goes on"):
        optimized(store, subject, stopping=stopping)
    assert len(subject.asked) <= 17
    rest = ScriptedSubject()
    whole = optimized(store, rest)
    assert len(rest.asked) + len(subject.asked) == whole.usage.calls


def test_a_program_that_does_something_at_random_is_not_written(store: Store) -> None:
    made = 0

    class Moody(QuizPredict):
        def forward(self, question: str, hint: str = "") -> dspy.Prediction:
            nonlocal made
            made += 1
            return super().forward(question=question, hint=f"mood {made}")

    with pytest.raises(DataLoss, match="made another program, so none is written"):
        optimized(store, ScriptedSubject(), program=Moody)


def test_progress_tells_rows_scores_and_calls(store: Store) -> None:
    told: list[Progress] = []
    run = optimized(store, ScriptedSubject(), report=told.append)
    assert [each.message for each in told[:8]] == ["the role's own prompt"] * 8
    assert (told[7].done, told[7].total, told[7].unit) == (8, 8, "rows")
    assert told[-1].figures["best_score"] == run.found.best.score
    assert told[-1].figures["baseline_score"] == run.found.baseline.score
    assert told[-1].figures["calls"] == run.usage.calls
    rows, calls = ([each for each in told if each.unit == unit] for unit in ("rows", "calls"))
    assert all(each.done <= each.total for each in rows)
    assert {each.message for each in calls} == {"making demos and instructions"}
    assert [each.done for each in calls] == sorted(each.done for each in calls)
    assert 8 < calls[0].done < calls[-1].done


def test_demos_are_answers_at_least_as_good_as_the_baseline_unless_said_otherwise(store: Store) -> None:
    run = optimized(store, ScriptedSubject())
    demos = [demo for each in run.found.evaluations for demo in each.program.reply.demos]
    assert demos
    assert all(len(demo["answer"]) / 10 >= run.found.baseline.score for demo in demos)
    anything = optimized(store, ScriptedSubject(), metric_threshold=0.0).found
    scores = [len(demo["answer"]) / 10 for each in anything.evaluations for demo in each.program.reply.demos]
    assert min(scores) < run.found.baseline.score
