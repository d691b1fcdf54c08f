"""The gates of an export: same tokens as in training, same distributions as the fine-tuned model.

Called by `export`. llama.cpp is asked in a subprocess, `llama_probe`; the reference distributions come as arrays, so
that nothing here knows torch.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stillhouse.errors import FailedPrecondition
from stillhouse.exporter.probes import ForcedSequence, Probes
from stillhouse.rpc.tool import run_tool

DEFAULT_MAX_KL_DIVERGENCE = 1e-4
MAX_OTHER_MISMATCH_FRACTION = 0.02
"""Of the texts that are not the role's own; a skewed pre-tokenizer differs in 10 % to 80 %."""
LEAST_REST = 1e-3
"""Unlisted mass counts as at least that much; see `kl_divergence`."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Reference:
    """What the fine-tuned model says of the probes' sequences: for each, float32 (positions, vocabulary)."""

    log_probabilities: tuple[Floats, ...]

    @property
    def vocabulary(self) -> int:
        """Entries of a distribution."""
        return int(self.log_probabilities[0].shape[1])


@dataclass(frozen=True)
class Parity:
    """How the GGUF's tokens compare with the training tokenizer's."""

    probes: int
    mismatches: tuple[str, ...]
    rendered: int
    """So many of the probes are the role's own prompts and answers."""
    rendered_mismatches: int
    """Mismatches among those."""


@dataclass(frozen=True)
class Divergence:
    """KL(fine-tuned || GGUF) in nats over answer positions."""

    mean: float
    largest: float
    positions: int


@dataclass(frozen=True)
class Measurement:
    """What one run of the probe found."""

    parity: Parity
    divergence: Divergence


def measure(
    model: Path,
    probes: Probes,
    reference: Reference,
    *,
    scratch: Path,
    stopping: threading.Event,
    adapter: Path | None = None,
    with_texts: bool = False,
) -> Measurement:
    """Asks llama.cpp about a GGUF file, with `adapter` (GGUF) applied if given. Errors as `run_tool`."""
    texts = probes.texts if with_texts else ()
    request = {
        "texts": texts,
        "sequences": [{"tokens": s.tokens, "positions": s.positions} for s in probes.sequences],
        "vocabulary": reference.vocabulary,
    }
    question, answer = scratch / f"{model.stem}.probe.json", scratch / f"{model.stem}.probe.npz"
    question.write_text(json.dumps(request), encoding="utf-8")
    command = [sys.executable, "-m", "stillhouse.exporter.llama_probe", "--model", str(model)]
    command += ["--request", str(question), "--output", str(answer)]
    if adapter is not None:
        command += ["--adapter", str(adapter)]
    run_tool(f"llama.cpp on {model.name}", command, log=scratch / f"{model.stem}.probe.log", stopping=stopping)
    with np.load(answer) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return Measurement(_parity(probes, texts, found), _divergence(probes.sequences, reference, found))


def kl_divergence(reference: Floats, ids: npt.NDArray[np.integer[Any]], log_probabilities: Floats) -> float:
    """KL(p || q) in nats; p is `reference` (log probabilities, whole vocabulary), q is known for `ids` only.

    By the chain rule (Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 2.5.3) it is that of listed
    against unlisted mass, and that within the listed tokens; that within the unlisted ones is not known, so the result
    is a lower bound, and exact where all are listed. llama.cpp sums a softmax in float32, which puts its log
    probabilities off by a constant of about 1e-4: it cancels within the listed tokens, and LEAST_REST bounds what it
    does to the mass.
    """
    known = ids < reference.shape[0]
    log_p = reference.astype(np.float64)[ids[known]]
    log_q = log_probabilities.astype(np.float64)[known]
    p, q = float(np.exp(log_p).sum()), float(np.exp(log_q).sum())
    within = float(np.sum(np.exp(log_p) * (log_p - log_q))) - p * math.log(p / q)
    if len(log_p) == reference.shape[0]:
        return max(within, 0.0)
    rest_p, rest_q = max(1.0 - p, LEAST_REST), max(1.0 - q, LEAST_REST)
    between = rest_p * math.log(rest_p / rest_q) + (1.0 - rest_p) * math.log((1.0 - rest_p) / (1.0 - rest_q))
    return max(within + between, 0.0)


def require_parity(parity: Parity) -> None:
    """Raises FailedPrecondition where the GGUF would read the role's texts, or too many others, unlike in training."""
    others = len(parity.mismatches) - parity.rendered_mismatches
    if not parity.rendered_mismatches and others <= MAX_OTHER_MISMATCH_FRACTION * parity.probes:
        return
    shown = ", ".join(repr(text[:40]) for text in parity.mismatches[-3:])
    raise FailedPrecondition(
        f"token parity failed: {len(parity.mismatches)} of {parity.probes} texts have other tokens in the GGUF than in "
        f"training ({parity.rendered_mismatches} of them the role's own), for example {shown}; the base's tokenizer is "
        "not the one that llama.cpp implements: prepare the base again and train on that",
    )


def require_divergence(what: str, divergence: Divergence, limit: float) -> None:
    """Raises FailedPrecondition where the mean is above `limit` (nats) or is no number."""
    if divergence.mean <= limit:
        return
    raise FailedPrecondition(
        f"{what} is not the fine-tuned model: mean KL divergence {divergence.mean:.6f} nats (largest "
        f"{divergence.largest:.6f}) over {divergence.positions} answer positions, allowed {limit:g}; this "
        "architecture is converted wrongly (report it), or raise maxKlDivergence (--max-kl) if the figure is rounding",
    )


def _parity(probes: Probes, texts: Sequence[str], found: dict[str, npt.NDArray[Any]]) -> Parity:
    tokens, offsets = found["text_tokens"].tolist(), found["text_offsets"].tolist()
    different = [
        index
        for index in range(len(texts))
        if tokens[offsets[index] : offsets[index + 1]] != [*probes.text_tokens[index]]
    ]
    return Parity(
        probes=len(texts),
        rendered=probes.rendered,
        mismatches=tuple(texts[index] for index in different),
        rendered_mismatches=sum(index < probes.rendered for index in different),
    )


def _divergence(
    sequences: Sequence[ForcedSequence], reference: Reference, found: dict[str, npt.NDArray[Any]]
) -> Divergence:
    offsets = found["offsets"].tolist()
    rows = [row for block in reference.log_probabilities for row in block]
    if len(rows) != sum(len(sequence.positions) for sequence in sequences):
        raise ValueError("the reference was not made for these probes")
    values = [
        kl_divergence(row, found["ids"][start:end], found["log_probabilities"][start:end])
        for row, start, end in zip(rows, offsets[:-1], offsets[1:], strict=True)
    ]
    return Divergence(mean=float(np.mean(values)), largest=float(np.max(values)), positions=len(values))
