"""The role as a DSPy program: signature, module, metric, and the adapter that renders the training prompt.

DSPy programs and the optimizer import it; nothing else does, as dspy costs 370 MB and two seconds. Prompt, parser and
metric are the role's own functions: without demos and with the role's instructions the rendering is byte for byte
what a student was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from stillhouse.roles.product_owner import adapter, metric, prompt
from stillhouse.roles.product_owner.signature import (
    INPUT_FIELDS,
    INPUT_NAMES,
    INSTRUCTIONS,
    OUTPUT_FIELDS,
    OUTPUT_NAMES,
)
from stillhouse.roles.role import Guidance, MetricScore

_DESCRIPTION = {field.name: field.description for field in (*INPUT_FIELDS, *OUTPUT_FIELDS)}


class ProductOwnerSignature(dspy.Signature):  # type: ignore[misc]
    __doc__ = INSTRUCTIONS

    concept: str = dspy.InputField(desc=_DESCRIPTION["concept"])
    requirements_yaml: str = dspy.InputField(desc=_DESCRIPTION["requirements_yaml"])
    existing_vision: str = dspy.InputField(desc=_DESCRIPTION["existing_vision"], default="")
    product_vision: str = dspy.OutputField(desc=_DESCRIPTION["product_vision"])
    product_owner_review: str = dspy.OutputField(desc=_DESCRIPTION["product_owner_review"])


class ProductOwnerAdapter(dspy.Adapter):  # type: ignore[misc]
    """Renders ProductOwnerSignature (under any instructions) and reads its answers; no second call for a bad answer."""

    def format(
        self, signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        """The role's own messages under the signature's instructions; whole demos become turns.

        Raises InvalidArgument if a required input is missing or blank.
        """
        guidance = Guidance(signature.instructions, tuple(_texts(demo) for demo in demos))
        turns = prompt.messages(_texts(inputs), guidance)
        return [{"role": turn.role, "content": turn.content} for turn in turns]

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, str]:
        """Both outputs. Raises AdapterParseError, which DSPy counts as a failed row, if one is missing."""
        parsed = adapter.parse(completion)
        if set(parsed.outputs) != set(OUTPUT_NAMES):
            raise AdapterParseError(
                adapter_name=type(self).__name__,
                signature=signature,
                lm_response=completion,
                message="; ".join(parsed.problems),
                parsed_result=dict(parsed.outputs),
            )
        return dict(parsed.outputs)


class ProductOwner(dspy.Module):  # type: ignore[misc]
    """The program: one predictor, `generate`, that always speaks through ProductOwnerAdapter."""

    def __init__(self) -> None:
        super().__init__()
        self.generate = dspy.Predict(ProductOwnerSignature)

    def forward(self, concept: str, requirements_yaml: str, existing_vision: str = "") -> dspy.Prediction:
        """A prediction with product_vision and product_owner_review, raw YAML text."""
        with dspy.context(adapter=ProductOwnerAdapter()):
            return self.generate(concept=concept, requirements_yaml=requirements_yaml, existing_vision=existing_vision)

    async def aforward(self, concept: str, requirements_yaml: str, existing_vision: str = "") -> dspy.Prediction:
        """As `forward`, without blocking the event loop."""
        with dspy.context(adapter=ProductOwnerAdapter()):
            return await self.generate.acall(
                concept=concept, requirements_yaml=requirements_yaml, existing_vision=existing_vision
            )


def product_owner_metric(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:  # noqa: ARG001
    """The role's score in [0, 1], as `dspy.Evaluate` and the optimizers call a metric."""
    return score(example, prediction).score


def score(example: dspy.Example, prediction: dspy.Prediction) -> MetricScore:
    """The score with its parts."""
    return metric.score(_texts(example), _texts(prediction))


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The role's fields that hold text."""
    return {
        name: value
        for name in (*INPUT_NAMES, *OUTPUT_NAMES)
        if name in fields and isinstance(value := fields[name], str)
    }
