"""Optimisations whose language model is scripted: programs of the quiz role, their rows, and a run of them."""

from __future__ import annotations

import contextvars
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

import dspy
from dspy import lm15

from quiz_role import QuizRole
from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import Store
from stillhouse.client.dspy import request_messages
from stillhouse.optimizer.journal import Journal
from stillhouse.optimizer.models import JournaledEngine, Priced, language_model
from stillhouse.optimizer.optimization import Optimized, optimize
from stillhouse.optimizer.options import Optimizer, Options
from stillhouse.optimizer.plan import Models, Search
from stillhouse.optimizer.scoring import Scoring
from stillhouse.optimizer.usage import Limits
from stillhouse.v1.common_pb2 import Progress

ROLE = QuizRole()
Script = Callable[[str, Sequence[str]], str]
"""What the request says, and the fields that it asks for (one without a name where it names none) -> the answer."""

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")


class QuizPredict(dspy.Module):  # type: ignore[misc]
    """Question and hint to answer and comment, in one call."""

    def __init__(self) -> None:
        super().__init__()
        self.reply = dspy.Predict("question, hint -> answer, comment")

    def forward(self, question: str, hint: str = "") -> dspy.Prediction:
        return self.reply(question=question, hint=hint)


class QuizPair(dspy.Module):  # type: ignore[misc]
    """An answer, then a comment on it: two predictors, two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.reply = dspy.Predict("question, hint -> answer")
        self.remark = dspy.Predict("question, answer -> comment")

    def forward(self, question: str, hint: str = "") -> dspy.Prediction:
        answer = self.reply(question=question, hint=hint).answer
        return dspy.Prediction(answer=answer, comment=self.remark(question=question, answer=answer).comment)


def asked_fields(request: lm15.Request) -> list[str]:
    """The output fields that DSPy's ChatAdapter asks for."""
    last = request_messages(request)[-1].content
    return [name for name in _FIELD.findall(last.rpartition("Respond with")[2]) if name != "completed"] or [""]


def in_fields(values: dict[str, str]) -> str:
    """An answer as ChatAdapter reads one."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in values.items()) + "\n\n[[ ## completed ## ]]"


def by_request(text: str, fields: Sequence[str]) -> str:
    """Text of a length that depends on the request: some answers are better, and some prompts get better ones."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return in_fields({name: digest[: 3 + int(digest[number], 16) // 2] for number, name in enumerate(fields)})


IMPROVABLE = {"max_bootstrapped_demos": 0, "trials": 6}
"""Options of a search that finds what `improvable` has to be found."""


def improvable(text: str, fields: Sequence[str]) -> str:
    """Half of an answer to a program's own instructions, a whole one to any other."""
    if {"answer", "comment"}.isdisjoint(fields):
        return by_request(text, fields)
    return in_fields(dict.fromkeys(fields, "short" if "Given the fields" in text else "long enough"))


def at_random(text: str, fields: Sequence[str]) -> str:
    """A sampling model: another answer each time."""
    return by_request(text + secrets.token_hex(8), fields)


def half_readable(text: str, fields: Sequence[str]) -> str:
    """Nothing that could be read, to every other row of the validation set."""
    number = re.search(r"What is 10(\d) and one", text)
    return "?" if number and int(number[1]) % 2 else by_request(text, fields)


def plain(text: str, fields: Sequence[str]) -> str:
    """What was asked, said again."""
    return f"answer to {text[-20:]}"


def refusing(text: str, fields: Sequence[str]) -> str:
    """No prompt fits."""
    raise lm15.ContextLengthError("the prompt has 9000 tokens")


def in_thread(threads: ThreadPoolExecutor, ask: Callable[[], Any]) -> Future[Any]:
    """As DSPy starts its rows: with the settings of whoever starts them."""
    return threads.submit(contextvars.copy_context().run, ask)


class ScriptedSubject:
    """Answers from a script and counts what it is asked; safe to share between threads."""

    def __init__(
        self,
        script: Script = by_request,
        *,
        seconds: float = 0.0,
        cost_usd: float = 0.0,
        maximum_usd: float | None = None,
    ) -> None:
        self.script = script
        self.seconds = seconds
        self.cost_usd = cost_usd
        self._maximum_usd = cost_usd if maximum_usd is None else maximum_usd
        self.asked: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = Lock()

    def maximum_usd(self, request: lm15.Request) -> float:
        return self._maximum_usd

    def ask(self, request: lm15.Request) -> Priced:
        text = json.dumps([(message.role, message.content) for message in request_messages(request)])
        with self._lock:
            self.asked.append(text)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            time.sleep(self.seconds)
            answer = self.script(text, asked_fields(request))
        finally:
            with self._lock:
                self.in_flight -= 1
        return Priced(response(answer), self.cost_usd)


def response(text: str, finish_reason: Any = "stop") -> lm15.Response:
    """10 tokens in, 5 out."""
    usage = lm15.Usage(input_tokens=10, output_tokens=5, cache_read_tokens=2)
    message = lm15.Message.assistant(text)
    return lm15.Response(id=None, model="scripted", message=message, finish_reason=finish_reason, usage=usage)


def scripted_lm(subject: ScriptedSubject, journal: Journal, name: str = "scripted/one") -> dspy.LM:
    lm = language_model(name, subject, journal, max_tokens=200, temperature=0.7)
    assert isinstance(lm.engine, JournaledEngine)
    return lm


def options(**fields: Any) -> Options:
    """Small ones of MIPROv2's."""
    usual: dict[str, Any] = {
        "optimizer": Optimizer.MIPRO_V2,
        "instruction_candidates": 3,
        "demo_candidates": 3,
        "trials": 3,
        "validation_rows": 8,
        "minibatch": False,
        "minibatch_size": 35,
        "minibatch_full_eval_steps": 5,
        "max_bootstrapped_demos": 2,
        "max_labeled_demos": 0,
        "seed": 3,
        "metric_threshold": None,
        "init_temperature": 1.0,
    }
    return Options(**{**usual, **fields})


def quiz_rows(count: int, *, start: int = 0) -> list[dspy.Example]:
    fields = [{"question": f"What is {start + number} and one?", "hint": ""} for number in range(count)]
    return [dspy.Example(**each).with_inputs("question", "hint") for each in fields]


def quiz_search(
    journal: Journal,
    subject: ScriptedSubject,
    *,
    program: Callable[[], dspy.Module] = QuizPredict,
    threads: int = 2,
    min_baseline_valid: float = 0.5,
    validation: Sequence[dspy.Example] | None = None,
    held_out: Sequence[dspy.Example] = (),
    prompt: ScriptedSubject | None = None,
    **fields: Any,
) -> Search:
    lm = scripted_lm(subject, journal)
    prompt_lm = lm if prompt is None else scripted_lm(prompt, journal, "scripted/prompt")
    return Search(
        program=program,
        options=options(**fields),
        models=Models(lm, prompt_lm, None, threads),
        scoring=Scoring(ROLE, None, journal),
        train=quiz_rows(6),
        validation=quiz_rows(8, start=100) if validation is None else validation,
        held_out=held_out,
        min_baseline_valid=min_baseline_valid,
    )


def optimized(
    store: Store,
    subject: ScriptedSubject,
    *,
    limits: Limits | None = None,
    stopping: Event | None = None,
    elapsed_seconds: Callable[[], float] = time.monotonic,
    report: Callable[[Progress], None] = lambda progress: None,
    **search: Any,
) -> Optimized:
    """One whole run against the answers in the store."""
    journal = Journal(AnswerLog(store), limits=limits, stopping=stopping, elapsed_seconds=elapsed_seconds)
    return optimize(quiz_search(journal, subject, **search), ROLE, journal, report=report)
