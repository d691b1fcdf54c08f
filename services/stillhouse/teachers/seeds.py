"""Where the seeds lie with which a teacher is evaluated. Called by whoever evaluates one; it imports nothing."""

from __future__ import annotations

EVALUATION_SEEDS = 1_000_000
"""A teacher is evaluated with seeds that far behind those with which it generates.

With the same ones, rows that were cut from its records would get from the answer log the very answers that were good
enough to be accepted.
"""
