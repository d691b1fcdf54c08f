"""What an optimisation found, as tables. Called by `stillhouse optimize`; reads metadata.json only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from stillhouse.cli.tables import facts_table, number
from stillhouse.dataset.paired import FEWEST_ROWS


def show_optimization(screen: Console, metadata: Mapping[str, Any], output: Path) -> None:
    """Scores before and after, what it took, what to do next, and why there is little where there is little."""
    baseline, best, usage = metadata["baseline"], metadata["score"], metadata["usage"]
    failures = ", ".join(f"{reason} {count}" for reason, count in baseline["failures"].items()) or "none"
    prompt = usage["prompt_tokens"]
    cached = f", {usage['cached_tokens'] / prompt:.0%} of the prompt's from the prefix cache" if prompt else ""
    facts = [
        ("own prompt", f"{baseline['score']:.3f} on {metadata['valset_size']} rows; failed rows: {failures}"),
        ("program", f"{best['score']:.3f}; failed rows: {sum(best['failures'].values())}"),
        ("difference", f"{_difference(metadata['difference'])}; on the rows that chose the program"),
        *_held_out(metadata),
        ("tried", f"{len(metadata['trials'])} evaluations with {metadata['optimizer']}{_ended(metadata)}"),
        ("calls", f"{usage['calls']}, {usage['from_log']} of them answered before; ${usage['cost_usd']:.4f}"),
        ("tokens", f"{number(prompt)} in, {number(usage['completion_tokens'])} out{cached}"),
        ("written", str(output)),
        ("next", f"stillhouse program show {output}"),
        ("", f"stillhouse evaluate ... --program {output}"),
    ]
    screen.print(facts_table(facts))
    if idle := metadata.get("idle"):
        screen.print(f"{metadata['optimizer']} has no use for {', '.join(idle)}", markup=False, soft_wrap=True)
    wants_demos = metadata["parameters"].get("max_bootstrapped_demos", 0) and not metadata["ended_by"]
    if wants_demos and not _has_demos(metadata):
        said = "no answer was good enough to be a demo: see --metric-threshold, or name a --demo-model"
        screen.print(said, markup=False, soft_wrap=True)
    if verdict := _verdict(metadata):
        screen.print(verdict, markup=False, soft_wrap=True)
    if best["score"] <= baseline["score"]:
        screen.print("nothing beat the role's own prompt: the program is that prompt", markup=False, soft_wrap=True)


def _difference(paired: Mapping[str, Any]) -> str:
    few = paired["rows"] < FEWEST_ROWS
    interval = "too few rows for an interval" if few else f"95 % {paired['low']:+.3f} to {paired['high']:+.3f}"
    counted = ", ".join(f"{paired[each]} {each}" for each in ("wins", "ties", "losses"))
    return f"{paired['mean']:+.3f}, {interval}; {counted}"


def _held_out(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    judged = metadata.get("held_out")
    if judged is None:
        return []
    if "score" not in judged:
        ended = metadata["ended_by"]
        return [("held out", f"{judged['size']} rows, not asked: {ended} was reached")] if ended else []
    own, program = judged["baseline"]["score"], judged["score"]["score"]
    scores = f"own prompt {own:.3f}, program {program:.3f} on {judged['size']} rows that chose nothing"
    return [("held out", f"{scores}; {_difference(judged['difference'])}")]


def _verdict(metadata: Mapping[str, Any]) -> str:
    """What to do with the program, as far as rows say that did not choose it; empty where there are none."""
    judged = metadata.get("held_out")
    if judged is None or "score" not in judged:
        return ""
    if judged["difference"]["high"] < 0:
        return "on the held-out rows the role's own prompt is better: keep that"
    if judged["difference"]["low"] > 0:
        return "on the held-out rows the program is better, too"
    return "on the held-out rows the program is not surely better than the role's own prompt"


def _has_demos(metadata: Mapping[str, Any]) -> bool:
    """Whether any candidate had a demo."""
    return any(any(demos) for each in metadata["candidates"].values() for demos in each["demos"])


def _ended(metadata: Mapping[str, Any]) -> str:
    return f", ended by {metadata['ended_by']}" if metadata["ended_by"] else ""
