"""DSPy programs of every shape that is kept, and a scripted language model whose answer hangs on the whole request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import dspy
from dspy import lm15
from pydantic import BaseModel

QUESTION = "Wie groß ist es?"
PROBES: list[dict[str, Any]] = [{"question": QUESTION}, {"question": "two\nlines"}]


class Person(BaseModel):
    name: str
    born: int | None = None


class Verdict(BaseModel):
    holds: bool
    people: list[Person] = []


class Judging(dspy.Signature):
    """Judge the question."""

    question: str = dspy.InputField()
    context: list[str] = dspy.InputField(desc="what is known", default=["nothing"])
    verdict: Verdict = dspy.OutputField()
    tags: list[str] = dspy.OutputField()


class Pair(dspy.Module):
    """Two predictors one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.Predict("question -> summary")
        self.decide = dspy.ChainOfThought("question, summary -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.decide(question=question, summary=self.draft(question=question).summary)


class Nested(dspy.Module):
    """Modules in modules, in nested lists and in a dict; one by two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Pair()
        self.grid = [[dspy.Predict("question -> answer")], [dspy.Predict("question -> answer", temperature=0.5)]]
        self.named = {"judge": dspy.Predict(Judging), 3: dspy.Predict("question -> answer")}
        self.again = self.inner.draft

    def forward(self, question: str) -> dspy.Prediction:
        for predictor in (self.grid[0][0], self.grid[1][0], self.named["judge"], self.named[3]):
            predictor(question=question)
        return self.inner(question=question)


class Frozen(dspy.Module):
    """A sub-module that an optimizer has frozen, beside one that it has not."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled = Pair()
        self.compiled._compiled = True
        self.free = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.free(question=self.compiled(question=question).answer)


SHAPES: Mapping[str, Callable[[], dspy.Module]] = {
    "Predict": lambda: dspy.Predict("question -> answer"),
    "ChainOfThought": lambda: dspy.ChainOfThought("question -> answer"),
    "typed": lambda: dspy.Predict(Judging),
    "pair": Pair,
    "nested": Nested,
    "frozen": Frozen,
}


class EchoEngine:
    """Answers every field that a program here asks for, with the digest of what it was asked, and keeps requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def complete(self, request: lm15.Request) -> lm15.Response:
        asked = repr((request.system, request.messages))
        self.requests.append(asked)
        digest = sha256(asked.encode(errors="surrogatepass")).hexdigest()
        answers = {
            "reasoning": f"because {digest}",
            "summary": f"in short {digest}",
            "answer": f"answer {digest}",
            "verdict": f'{{"holds": true, "people": [{{"name": "{digest}"}}]}}',
            "tags": f'["{digest}"]',
        }
        text = "\n\n".join(f"[[ ## {name} ## ]]\n{answer}" for name, answer in answers.items())
        message = lm15.Message(role="assistant", parts=(lm15.TextPart(text=f"{text}\n\n[[ ## completed ## ]]"),))
        usage = lm15.Usage(input_tokens=1, output_tokens=1, total_tokens=2)
        return lm15.Response(id="1", model="echo", message=message, finish_reason="stop", usage=usage)


def asked_and_answered(module: dspy.Module) -> tuple[list[str], list[dict[str, Any]]]:
    """Every request that the program makes for the probes, and what it predicts."""
    engine = EchoEngine()
    with dspy.context(lm=dspy.LM("echo/one", engine=engine, cache=False)):
        predictions = [dict(module(**probe).items()) for probe in PROBES]
    return engine.requests, predictions
