"""The role Product Owner: a concept and its requirements go in, a product vision and a requirements review come out.

Found through the entry point `stillhouse.roles`. This object only binds the plain functions of the folder together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stillhouse.roles.product_owner import adapter, guards, metric, prompt, schema, signature
from stillhouse.roles.role import (
    Detection,
    Example,
    GuardFinding,
    Guidance,
    Message,
    MetricScore,
    ParsedAnswer,
    Repair,
    Role,
)


class ProductOwnerRole:
    """Implements `stillhouse.roles.role.Role`; see there for what each member promises."""

    name = signature.NAME
    version = signature.VERSION
    input_fields: Sequence[str] = signature.INPUT_NAMES
    optional_inputs = signature.OPTIONAL_INPUTS
    output_fields: Sequence[str] = signature.OUTPUT_NAMES
    group_field = signature.CONCEPT
    guard_names: Sequence[str] = guards.GUARD_NAMES

    def group_key(self, inputs: Mapping[str, str]) -> str:
        """The concept in lower case, its white space collapsed."""
        return " ".join((inputs.get(self.group_field) or "").lower().split())

    def messages(self, inputs: Mapping[str, str], guidance: Guidance | None = None) -> list[Message]:
        """The prompt, system message first. Raises InvalidArgument if a required input is missing."""
        return prompt.messages(inputs, guidance or prompt.OWN_GUIDANCE)

    def inputs_of(self, messages: Sequence[Message]) -> Mapping[str, str] | None:
        """The inputs that a prompt asks about; None for what is no prompt of this role."""
        from stillhouse.roles.product_owner import asked

        return asked.inputs_of(messages)

    def dspy_program(self) -> Any:
        """The role as a DSPy module with one predictor."""
        from stillhouse.roles.product_owner.dspy_adapter import ProductOwner

        return ProductOwner()

    def parse(self, answer: str) -> ParsedAnswer:
        """Finds the two blocks in an answer; never raises, never invents."""
        return adapter.parse(answer)

    def problems(self, outputs: Mapping[str, str]) -> list[str]:
        """Why these outputs do not satisfy the models; empty when they are valid."""
        found = []
        for name in self.output_fields:
            text = outputs.get(name)
            if text is None:
                found.append(f"there is no {signature.BLOCK_LABELS[name]}")
            else:
                found += schema.read_output(name, text)[1]
        return found

    def canonical(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        """The outputs as canonical text. Raises InvalidArgument where they are not valid."""
        return {name: schema.canonical_output(name, outputs.get(name) or "") for name in self.output_fields}

    def answer_text(self, outputs: Mapping[str, str]) -> str:
        """The two fenced blocks that hold these outputs."""
        return prompt.answer_text(outputs)

    def score(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
        """`product_owner_metric` over the raw text. Never raises."""
        return metric.score(inputs, outputs)

    def guards(
        self, inputs: Mapping[str, str], outputs: Mapping[str, str], selected: Sequence[str]
    ) -> list[GuardFinding]:
        """The selected guards that fire. Raises InvalidArgument on an unknown guard name."""
        return guards.find(inputs, outputs, selected)

    def labels(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        """`status` of the review, where it has one of the three."""
        return schema.labels(outputs)

    def grammar(self, inputs: Mapping[str, str]) -> str:
        """GBNF of an answer to these inputs."""
        from stillhouse.roles.product_owner import grammar

        return grammar.grammar(inputs)

    def examples(self, *, count: int, seed: int, planted: float = 0.5) -> Iterator[Example]:
        """`count` distinct synthesized inputs, that share of them with planted gaps or conflicts."""
        from stillhouse.roles.product_owner import concepts

        return concepts.examples(count=count, seed=seed, planted=planted)

    def complete(self, example: Example, *, seed: int) -> Example:
        """The example with requirements, synthesized if it has none. Raises InvalidArgument without a concept."""
        from stillhouse.roles.product_owner import completion

        return completion.complete(example, seed=seed)

    def author(self, example: Example, *, seed: int) -> str:
        """A scripted, short, good answer to a synthesized example."""
        from stillhouse.roles.product_owner import author

        return author.author(example, seed=seed)

    def teacher_messages(self, inputs: Mapping[str, str], *, structured: bool) -> list[Message]:
        """The prompt for a teacher. Raises InvalidArgument if a required input is missing."""
        from stillhouse.roles.product_owner import teaching

        return teaching.messages(inputs, structured=structured)

    def response_schema(self, outputs: Sequence[str]) -> Mapping[str, Any]:
        """JSON schema of an object with these outputs. Raises InvalidArgument on an unknown one."""
        from stillhouse.roles.product_owner import teaching

        return teaching.response_schema(outputs)

    def parse_structured(self, answer: str) -> ParsedAnswer:
        """The valid outputs of a JSON answer, as canonical text; never raises."""
        from stillhouse.roles.product_owner import teaching

        return teaching.parse_structured(answer)

    def repair(self, inputs: Mapping[str, str], answer: ParsedAnswer, *, structured: bool) -> Repair:
        """The request that completes an answer. Raises InvalidArgument if a required input is missing."""
        from stillhouse.roles.product_owner import repairing

        return repairing.repair(inputs, answer, structured=structured)

    def reply(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, *, seed: int, careless: bool) -> str:
        """What the scripted author answers to this role's prompts; a sentence to any other."""
        from stillhouse.roles.product_owner import replying

        return replying.reply(messages, schema, seed=seed, careless_answer=careless)

    def detections(self, labels: Mapping[str, str], outputs: Mapping[str, str]) -> Mapping[str, Detection]:
        """Gaps and conflicts of the review against the planted ones; empty where the labels name none."""
        from stillhouse.roles.product_owner import detection

        return detection.detections(labels, outputs)


ROLE: Role = ProductOwnerRole()
