"""A small role for tests of what works with any role: a question in, an answer and a comment out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Example, GuardFinding, Message, MetricScore, ParsedAnswer


class QuizRole:
    """Scores by the answer's length, ten characters being full marks; `ANSWER: a / COMMENT: c` is its raw text."""

    name = "quiz"
    version = 3
    input_fields: Sequence[str] = ("question", "hint")
    optional_inputs = frozenset({"hint"})
    output_fields: Sequence[str] = ("answer", "comment")
    group_field = "question"
    guard_names: Sequence[str] = ("shouting", "echo")

    def group_key(self, inputs: Mapping[str, str]) -> str:
        return " ".join(inputs["question"].lower().split())

    def messages(self, inputs: Mapping[str, str]) -> list[Message]:
        return [Message("user", inputs["question"])]

    def parse(self, answer: str) -> ParsedAnswer:
        found, separator, comment = answer.partition(" / COMMENT: ")
        if not separator or not found.startswith("ANSWER: "):
            return ParsedAnswer({}, ("no answer and comment",))
        return ParsedAnswer({"answer": found.removeprefix("ANSWER: "), "comment": comment})

    def problems(self, outputs: Mapping[str, str]) -> list[str]:
        return [f"{name} is blank" for name in self.output_fields if not outputs.get(name, "").strip()]

    def canonical(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        if problems := self.problems(outputs):
            raise InvalidArgument(problems[0])
        return {name: outputs[name].strip() for name in self.output_fields}

    def answer_text(self, outputs: Mapping[str, str]) -> str:
        return f"ANSWER: {outputs['answer']} / COMMENT: {outputs['comment']}"

    def score(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
        length = min(len(outputs.get("answer", "")), 10)
        return MetricScore(length / 10, {"length": float(length)})

    def guards(
        self, inputs: Mapping[str, str], outputs: Mapping[str, str], selected: Sequence[str]
    ) -> list[GuardFinding]:
        for name in selected:
            if name not in self.guard_names:
                raise InvalidArgument(f"no guard {name!r}")
        found = []
        if "shouting" in selected and outputs.get("answer", "").isupper():
            found.append(GuardFinding("shouting", "the answer is in capitals"))
        if "echo" in selected and outputs.get("answer", "") == inputs.get("question"):
            found.append(GuardFinding("echo", "the answer is the question"))
        return found

    def labels(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        return {"mood": outputs.get("comment", "")}

    def grammar(self, inputs: Mapping[str, str]) -> str:
        return 'root ::= "ANSWER: "'

    def examples(self, *, count: int, seed: int) -> Iterator[Example]:
        for number in range(count):
            yield Example({"question": f"question {seed} {number}"})

    def author(self, example: Example, *, seed: int) -> str:
        return "ANSWER: a full answer / COMMENT: good"
