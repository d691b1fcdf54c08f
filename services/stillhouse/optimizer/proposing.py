"""How DSPy's own questions to the prompt model are put and read. Called by DSPy where no program has its own adapter.

A small model seldom keeps to DSPy's field markers; where one text is wanted, what it wrote is that text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.teleprompt.gepa.instruction_proposal import InstructionProposer
from dspy.utils.exceptions import AdapterParseError

_MARKER = re.compile(r"\[\[ ## \w+ ## \]\]?")


class ProposalAdapter(dspy.ChatAdapter):  # type: ignore[misc]
    """ChatAdapter that asks once, and takes an answer without markers as the one text that was asked for."""

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The fields. Raises AdapterParseError where more than one is wanted, or nothing was said."""
        try:
            fields: dict[str, Any] = super().parse(signature, completion)
            return fields
        except AdapterParseError:
            wanted = list(signature.output_fields.items())
            text = _MARKER.sub("", completion or "").strip()
            if len(wanted) != 1 or wanted[0][1].annotation is not str or not text:
                raise
            return {wanted[0][0]: text}


class ReflectionProposer:
    """GEPA's own proposer, read as the other proposals are; it knows whether the prompt model ever made one.

    GEPA passes over a proposal that fails: a run without any would end as if there was nothing better.
    """

    def __init__(self) -> None:
        self._propose = InstructionProposer(adapter=ProposalAdapter())
        self._made = False
        self._failure: Exception | None = None

    def __call__(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """New instructions, by predictor. Raises what DSPy raises."""
        try:
            proposed: dict[str, str] = self._propose(candidate, reflective_dataset, components_to_update)
        except Exception as exc:
            self._failure = exc
            raise
        self._made = self._made or bool(proposed)
        return proposed

    def raise_if_none_made(self) -> None:
        """Raises the last failure where every proposal failed."""
        if self._failure is not None and not self._made:
            raise self._failure
