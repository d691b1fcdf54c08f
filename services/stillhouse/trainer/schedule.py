"""The learning rate as a pure function of the step, so that resuming needs no scheduler's state."""

from __future__ import annotations

import math


def learning_rate_at(step: int, *, steps: int, peak: float, schedule: str, warmup_fraction: float) -> float:
    """The rate of that step (from 0): a linear rise to `peak`, then `cosine` or `linear` to 0, or `constant`.

    Warm-up takes `warmup_fraction` of the steps, rounded up. Cosine: Loshchilov and Hutter, arXiv:1608.03983, eq. 5
    without restarts.
    """
    warmup = math.ceil(steps * warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, steps - warmup)
    if schedule == "linear":
        return peak * (1 - progress)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
