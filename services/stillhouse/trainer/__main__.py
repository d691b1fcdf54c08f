"""Wires the trainer: `python -m stillhouse.trainer run --request URI`, or `serve`."""

from __future__ import annotations
