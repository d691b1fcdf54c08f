"""A small role for tests of what works with any role: a question in, an answer and a comment out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Detection, Example, GuardFinding, Guidance, Message, MetricScore, ParsedAnswer, Repair


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

    def messages(self, inputs: Mapping[str, str], guidance: Guidance | None = None) -> list[Message]:
        told = [] if guidance is None else [Message("system", guidance.instructions)]
        return [*told, Message("user", inputs["question"])]

    def inputs_of(self, messages: Sequence[Message]) -> Mapping[str, str] | None:
        return {"question": messages[-1].content}

    def dspy_program(self) -> Any:
        raise NotImplementedError

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

    def examples(self, *, count: int, seed: int, planted: float = 0.5) -> Iterator[Example]:
        for number in range(count):
            labels = {"planted_slips": str(int((number + 1) * planted) - int(number * planted))}
            yield Example({"question": f"question {seed} {number}"}, labels)

    def complete(self, example: Example, *, seed: int) -> Example:
        return example

    def author(self, example: Example, *, seed: int) -> str:
        return "ANSWER: a full answer / COMMENT: good"

    def teacher_messages(self, inputs: Mapping[str, str], *, structured: bool) -> list[Message]:
        system = "Answer in JSON." if structured else "Answer as `ANSWER: a full answer / COMMENT: good` does."
        return [Message("system", system), *self.messages(inputs)]

    def response_schema(self, outputs: Sequence[str]) -> Mapping[str, Any]:
        properties = {name: {"type": "string"} for name in outputs}
        return {"type": "object", "properties": properties, "required": list(outputs)}

    def parse_structured(self, answer: str) -> ParsedAnswer:
        try:
            values = json.loads(answer)
        except ValueError:
            return ParsedAnswer({}, ("no JSON",))
        outputs = {name: values[name] for name in self.output_fields if isinstance(values.get(name), str)}
        return ParsedAnswer(outputs, tuple(self.problems(outputs)))

    def repair(self, inputs: Mapping[str, str], answer: ParsedAnswer, *, structured: bool) -> Repair:
        kept = {name: text for name, text in answer.outputs.items() if text.strip()}
        wanted = tuple(name for name in self.output_fields if name not in kept)
        first = self.teacher_messages(inputs, structured=structured)
        request = Message("user", f"{inputs['question']} Give only {' and '.join(wanted)}.")
        return Repair((*first[:-1], request), kept, wanted)

    def reply(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, *, seed: int, careless: bool) -> str:
        outputs = {"answer": "short" if careless else "a full answer", "comment": "good"}
        if schema is None:
            return self.answer_text(outputs)
        return json.dumps({name: outputs[name] for name in schema["properties"]})

    def detections(self, labels: Mapping[str, str], outputs: Mapping[str, str]) -> Mapping[str, Detection]:
        """Of `planted_slips` slips, as many are found as the comment has the word for; the rest are missed."""
        if "planted_slips" not in labels:
            return {}
        planted, said = int(labels["planted_slips"]), outputs.get("comment", "").split().count("slip")
        found = min(planted, said)
        return {"slips": Detection(found, planted - found, said - found)}
