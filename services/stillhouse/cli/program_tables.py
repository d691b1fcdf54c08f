"""A program and its metadata as text at 100 columns. Called by `stillhouse program show`.

Of the metadata it knows baseline, score and trials; whatever else is there is printed under its own name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from stillhouse.cli.tables import facts_table, number, percent, rows_table
from stillhouse.programs.document import program_sha256
from stillhouse.programs.folder import DIGEST
from stillhouse.programs.program import ROOT, Demo, Predictor, Program

_SHOWN_ELSEWHERE = frozenset({DIGEST, "role", "role_version", "baseline", "score", "trials", "candidates"})
"""The texts of all candidates are for programs to read."""
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_VALUE_LENGTH = 200


def show_program(screen: Console, program: Program, metadata: Mapping[str, Any]) -> None:
    """What it is, where it comes from, each predictor, and the trials that led to it."""
    screen.print(facts_table((escape(name), escape(value)) for name, value in _facts(program, metadata)))
    for name, predictor in program.predictors.items():
        screen.print()
        _show_predictor(screen, name, predictor)
    if trials := metadata.get("trials"):
        screen.print()
        _show_trials(screen, list(program.predictors), trials)


def metadata_facts(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of the metadata but the trials; long digests are cut."""
    if (baseline := metadata.get("baseline")) is not None:
        yield "baseline", _scored(baseline)
    if (score := metadata.get("score")) is not None:
        yield "score", _scored(score)
    for name, value in metadata.items():
        if name not in _SHOWN_ELSEWHERE:
            lines = value if isinstance(value, list) else [value]
            yield name.replace("_", " "), "\n".join(map(inline, lines)) or "none"


def inline(value: Any) -> str:
    """A JSON value in a line; digests are cut to 12 digits."""
    match value:
        case Mapping():
            text = ", ".join(f"{key} {inline(item)}" for key, item in value.items())
        case list():
            text = "; ".join(map(inline, value))
        case None | True | False:
            text = {None: "none", True: "yes", False: "no"}[value]
        case _:
            text = str(value)
    return _DIGEST.sub(lambda digest: digest[0][:12], text) or "none"


def demo_lines(demo: Demo) -> list[tuple[str, str]]:
    """Names and values of its fields, white space collapsed, long values cut."""
    return [(name, cut(" ".join(inline(value).split()))) for name, value in demo.fields.items()]


def _facts(program: Program, metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "program", program_sha256(program)
    yield "role", f"{program.role}, version {program.role_version}"
    for name, node in program.modules.items():
        if name not in program.predictors or node.compiled:
            frozen = ", frozen by an optimizer" if node.compiled else ""
            yield "module" if name == ROOT else f"module {name}", f"{node.kind}{frozen}"
    yield from metadata_facts(metadata)
    if not metadata:
        yield "metadata", "none: there is no metadata.json with it"


def _scored(value: Any) -> str:
    """A score, or a mapping with score, valid_rate and failures."""
    if not isinstance(value, Mapping):
        return number(value) if isinstance(value, float) else inline(value)
    told = dict(value)
    parts = [number(score) if isinstance(score := told.pop("score", "no score"), float) else inline(score)]
    if isinstance(rate := told.pop("valid_rate", None), (int, float)):
        parts.append(f"{percent(rate)} valid")
    if failures := told.pop("failures", None):
        parts.append(f"failed: {inline(failures)}")
    return ", ".join([*parts, *([inline(told)] if told else [])])


def _show_predictor(screen: Console, name: str, predictor: Predictor) -> None:
    screen.print(Text(f"{name}: instructions", style="bold"))
    screen.print(Padding(Text(predictor.instructions), (0, 0, 0, 2)))
    screen.print()
    columns = [f"{escape(name)}: field", "", "type", "description"]
    fields = [
        [escape(field.name), field.kind, escape(field.annotation), escape(field.description)]
        for field in predictor.fields
    ]
    screen.print(rows_table(columns, fields, left=columns))
    for about, settings in (("config", predictor.config), ("decisions", predictor.decisions), ("lm", predictor.lm)):
        if settings:
            screen.print()
            screen.print(facts_table([(f"{escape(name)}: {about}", escape(inline(settings)))]))
    for index, demo in enumerate(predictor.demos, start=1):
        screen.print()
        screen.print(Text(f"{name}: demo {index} of {len(predictor.demos)}", style="bold"))
        screen.print(facts_table((escape(field), escape(value)) for field, value in demo_lines(demo)))
    if not predictor.demos:
        screen.print()
        screen.print(f"{name}: no demos", markup=False)


def _show_trials(screen: Console, names: Sequence[str], trials: Sequence[Mapping[str, Any]]) -> None:
    best = max((trial["score"] for trial in trials if trial.get("kind") == "full" and trial.get("score")), default=None)
    rows = []
    for trial in trials:
        score = trial.get("score")
        mark = "best" if trial.get("kind") == "full" and score == best else ""
        candidate = trial.get("candidate") or {}
        chosen = "; ".join(
            (f"{name}: " if len(names) > 1 else "") + _chosen(choice) for name, choice in candidate.items()
        )
        rows.append([str(trial.get("number", "")), str(trial.get("kind", "")), number(score), mark, escape(chosen)])
    columns = ["trial", "evaluated", "score", "", "candidate"]
    screen.print(rows_table(columns, rows, left=("evaluated", "", "candidate")))


def _chosen(choice: Any) -> str:
    if not isinstance(choice, Mapping):
        return inline(choice)
    return ", ".join(f"{what} {inline(which)}" for what, which in choice.items())


def cut(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 1]}…"
