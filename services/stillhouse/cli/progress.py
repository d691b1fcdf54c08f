"""What a person sees while a run is under way: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stillhouse.controller.plan import Plan, PlannedStep, StepState
from stillhouse.stages import GENERATE
from stillhouse.v1.common_pb2 import Progress

_MARKS = {
    StepState.DONE: ("✓", "green"),
    StepState.RUNNING: ("▶", "cyan"),
    StepState.READY: ("·", "white"),
    StepState.WAITING: ("·", "dim"),
    StepState.RETRYING: ("↻", "yellow"),
    StepState.FAILED: ("✗", "red"),
}
_CHANGING = (StepState.RUNNING, StepState.READY, StepState.RETRYING)
# What stands left of a step's words, and room at the end for the ^C that a terminal echoes there: one that wrapped
# would leave a line of the table behind.
_TAKEN_COLUMNS = 40
_LEAST_COLUMNS = 20
_PLAIN_SECONDS = 10.0
_SHOWN_FIGURES = (
    "kept",
    "refused",
    "contaminated",
    "loss",
    "tuning_loss",
    "tokens_per_second",
    "score_mean",
    "valid_rate",
    "baseline_score",
    "best_score",
)


class View(Protocol):
    """Shows plans as they change."""

    def show(self, plan: Plan, progress: Mapping[str, Progress], took: Mapping[str, float] | None = None) -> None:
        """Shows the newest state; `took` is seconds by step where they are known, else they are measured here."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def view_for(console: Console) -> View:
    """The live table where there is a terminal, else plain lines."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class LiveView:
    """A table of all steps, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._started: dict[str, float] = {}
        self._took: dict[str, float] = {}

    def show(self, plan: Plan, progress: Mapping[str, Progress], took: Mapping[str, float] | None = None) -> None:
        """Redraws."""
        table = Table(box=None, pad_edge=False, show_header=False, expand=False)
        for width in (1, 22, 8):
            table.add_column(width=width, no_wrap=True)
        table.add_column(overflow="fold", max_width=max(self._console.width - _TAKEN_COLUMNS, _LEAST_COLUMNS))
        for step in plan.steps:
            mark, style = _MARKS[step.state]
            words = "\n".join(lines_about(step.state, step.message, progress.get(step.name)))
            clock = self._clock(step) if took is None else _clock(took.get(step.name))
            table.add_row(mark, step.name, clock, Text(words), style=style)
        self._live.update(table)

    def _clock(self, step: PlannedStep) -> str:
        now = time.monotonic()
        if step.state is StepState.RUNNING:
            self._took[step.name] = now - self._started.setdefault(step.name, now)
        return _clock(self._took.get(step.name))

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)


class PlainView:
    """A line a change, and a line every ten seconds while a step runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, StepState] = {}
        self._last: dict[str, tuple[float, str]] = {}

    def show(
        self,
        plan: Plan,
        progress: Mapping[str, Progress],
        took: Mapping[str, float] | None = None,  # noqa: ARG002 - its lines have times of day
    ) -> None:
        """Prints what is new."""
        for step in plan.steps:
            text = describe(step, progress.get(step.name))
            if self._states.get(step.name) is not step.state:
                if self._states or step.state is not StepState.WAITING:
                    self._print(step, text)
                self._states[step.name] = step.state
            elif step.state in _CHANGING and self._is_due(step.name, text):
                self._print(step, text)

    def _is_due(self, name: str, text: str) -> bool:
        at, last = self._last.get(name, (0.0, ""))
        return text != last and time.monotonic() - at >= _PLAIN_SECONDS

    def _print(self, step: PlannedStep, text: str) -> None:
        self._last[step.name] = (time.monotonic(), text)
        line = f"{time.strftime('%H:%M:%S')} {step.name}: {step.state.value}"
        self._console.print(f"{line} {text}".rstrip(), highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


def describe(step: PlannedStep, progress: Progress | None) -> str:
    """A step in a few words: its progress while it runs, else why it is where it is."""
    return "  ".join(lines_about(step.state, step.message, progress))


def lines_about(state: StepState, message: str, progress: Progress | None) -> list[str]:
    """The same, in lines that fit beside a step's name in 100 columns."""
    if state is StepState.WAITING:
        return [f"after {message}"]
    if state is not StepState.RUNNING or progress is None:
        return [message]
    return progress_lines(progress)


def progress_lines(progress: Progress) -> list[str]:
    """How far a running job has come."""
    if progress.stage == GENERATE.name:
        return _about_generation(progress)
    parts = [progress.message] if progress.message else []
    if progress.total:
        parts.append(f"{progress.done:,}/{progress.total:,} {progress.unit}")
    elif progress.done:
        parts.append(f"{progress.done:,} {progress.unit}")
    parts += [
        f"{name.replace('_', ' ')} {figure(progress.figures[name])}"
        for name in _SHOWN_FIGURES
        if name in progress.figures
    ]
    parts += _about_asking(progress)
    if progress.eta_seconds > 0:
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ["  ".join(parts)]


def _about_generation(progress: Progress) -> list[str]:
    """Records and rates, then what asking takes: `45/96 records of 71 asked`, `8 in flight`, `3 × 429`, `$0.31`.

    Records are those accepted; reading an absent figure of a protobuf map gives 0.
    """
    figures = progress.figures
    target = f"/{progress.total:,}" if progress.total else ""
    rates = [f"{progress.done:,}{target} {progress.unit}"]
    if figures["attempted"]:
        rates = [f"{rates[0]} of {figures['attempted']:,.0f} asked", f"{figures['acceptance_rate']:.0%} accepted"]
    if figures["repair_rate"]:
        rates.append(f"{figures['repair_rate']:.0%} repaired")
    scores = [f"score {figures['score_mean']:.3f}, last {figures['score_last']:.3f}"] if figures["score_mean"] else []
    asking = [f"{figures['in_flight']:,.0f} in flight"] if "in_flight" in figures else []
    asking += _about_asking(progress)
    first = [progress.message] if progress.message else []
    first += scores + ([f"{duration(progress.eta_seconds)} left"] if progress.eta_seconds > 0 else [])
    return [line for line in ("  ".join(first), "  ".join(rates), "  ".join(asking)) if line]


def _about_asking(progress: Progress) -> list[str]:
    """What a teacher's calls met and cost, for those stages that ask one."""
    figures = progress.figures
    words = {"throttled": "× 429", "from_log": "from the log"}
    parts = [f"{figures[name]:,.0f} {word}" for name, word in words.items() if figures.get(name)]
    if "tokens" in figures:
        parts.append(f"{_short(figures['tokens'])} tokens")
    if "cost_usd" in figures:
        parts.append(f"${figures['cost_usd']:.2f}")
    return parts


def _short(count: float) -> str:
    """1.2k, 3.4M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count:.0f}"


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def figure(value: float) -> str:
    """A figure for a person: whole numbers whole, others with up to four digits."""
    return f"{value:,.0f}" if (value == int(value) and abs(value) >= 1) or value == 0 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """1:02:03 or 2:03."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
