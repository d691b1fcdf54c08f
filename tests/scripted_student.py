"""A student for tests: answers from a script, keeps what it was asked; in process, or as a gRPC servicer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stillhouse.evaluator.student import Question, StudentAnswer

MODEL = "ab" * 32

Script = Callable[[str], str]
"""The last message's text -> the answer; raises what the student is to raise."""


@dataclass
class ScriptedStudent:
    script: Script
    model: str = MODEL
    seconds: float = 2.0
    finish_reason: str = "stop"
    address: str = "127.0.0.1:9"
    asked: list[Question] = field(default_factory=list)
    answering_model: str | None = None

    def model_sha256(self) -> str:
        return self.model

    def generate(self, question: Question) -> StudentAnswer:
        self.asked.append(question)
        text = self.script(question.messages[-1].content)
        return StudentAnswer(
            text=text,
            finish_reason=self.finish_reason,
            prompt_tokens=7,
            completion_tokens=len(text),
            seconds=self.seconds,
            model_sha256=self.model if self.answering_model is None else self.answering_model,
        )
