"""What a report shows, as values: RunReport and its parts. Made by `reading` and its neighbours, drawn by `page`.

It must not know stores, files or HTML; every text in it may come from a model and is untrusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stillhouse.report.differences import Comparison
from stillhouse.report.optimization import Optimization


@dataclass(frozen=True)
class Contender:
    """One line of the headline table. Scores and rates in [0, 1]; None where nobody measured it."""

    title: str
    note: str
    rows: int
    mean: float
    std: float
    min: float
    valid: float | None = None
    guards: float | None = None
    seconds: float | None = None
    """Median seconds an answer."""
    cost_usd: float | None = None
    """An answer; None where nobody is paid for one."""


@dataclass(frozen=True)
class GateFact:
    """A gate in words: its figure, what was measured (`91.7 %`), the bound (`at least 95.0 %`), and the verdict."""

    figure: str
    measured: str
    bound: str
    passed: bool


@dataclass(frozen=True)
class Left:
    """How many left the funnel at a step, and why."""

    reason: str
    count: int


@dataclass(frozen=True)
class FunnelStep:
    """How many came so far; `left` says why the others did not come here."""

    title: str
    count: int
    left: Sequence[Left] = ()
    note: str = ""


@dataclass(frozen=True)
class HistogramGroup:
    """Scores of one model, tier or contender: `counts` by bin."""

    name: str
    count: int
    mean: float
    counts: Sequence[int]


@dataclass(frozen=True)
class Histogram:
    """Equal bins of `width` from `lower` upwards; a score on an edge belongs above it, 1 to the last bin."""

    title: str
    of: str
    """What is counted: `answers`, `records`, `rows`."""
    lower: float
    width: float
    groups: Sequence[HistogramGroup]
    bound: float | None = None
    """The score below which an answer was refused, where there is one bound."""

    @property
    def shown_bound(self) -> float | None:
        """The bound, unless all bins lie above it."""
        return self.bound if self.bound is not None and self.bound > self.lower else None


@dataclass(frozen=True)
class PacePoint:
    """An interval of the teacher's work."""

    start: datetime
    calls: int
    accepted: int
    cost_usd: float
    """Since the start of all."""


@dataclass(frozen=True)
class Pace:
    """The teacher's work over time, in intervals of equal length; empty ones are there too."""

    seconds: float
    """Of an interval."""
    points: Sequence[PacePoint]


@dataclass(frozen=True)
class TeacherModel:
    """One model's line. Counts of calls; `repaired` of the `repairs` were accepted."""

    model: str
    calls: int
    accepted: int
    missing_blocks: int
    repairs: int
    repaired: int
    mean_score: float | None
    tokens: int
    """Prompt, answer and thinking."""
    cost_usd: float
    median_seconds: float | None


@dataclass(frozen=True)
class Teaching:
    """The generate stage: from calls to records."""

    models: Sequence[TeacherModel]
    calls: int
    calls_by_kind: Sequence[Left]
    unread: Sequence[Left]
    """Calls that brought no answer to judge, by reason."""
    refused: Sequence[Left]
    accepted: int
    records: int
    cost_usd: float
    median_seconds: float | None
    pace: Pace | None
    histograms: Sequence[Histogram]


@dataclass(frozen=True)
class LossPoint:
    """A step of the training; losses in nats a token."""

    step: int
    loss: float | None
    tuning_loss: float | None


@dataclass(frozen=True)
class Finding:
    """How a review's findings of one kind compare with what was planted; `tier` is empty for all."""

    who: str
    kind: str
    tier: str
    found: int
    missed: int
    invented: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class NamedText:
    """A field and its text."""

    name: str
    text: str


@dataclass(frozen=True)
class TextPair:
    """One output of two answers to a row; None where there is none."""

    name: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class Verdict:
    """What became of one answer."""

    score: float
    seconds: float
    valid: bool
    failure: str
    """Why there is no answer; empty where there is one."""
    remarks: Sequence[str]
    """What the parser and the guards found."""


@dataclass(frozen=True)
class ComparedRow:
    """A held-out row with two answers: on the right the student's, or that of another than the baseline."""

    place: str
    """best, median, worst; beside a baseline win, tie, loss."""
    row_id: str
    tier: str
    right: Verdict
    inputs: Sequence[NamedText]
    pairs: Sequence[TextPair]
    left: Verdict | None = None
    """Of the baseline; the teacher's answers are shown without."""
    reference: str = ""
    """Where the teacher's answer comes from; empty where there is none."""


@dataclass(frozen=True)
class ArtifactFact:
    """Bytes by their digest; `made_by` names the step of this run that made them."""

    name: str
    sha256: str
    size_bytes: int
    made_by: str = ""


@dataclass(frozen=True)
class StageFact:
    """A step of the run. Without a key its inputs are not made yet; `seconds` is None while it is not done."""

    name: str
    stage: str
    state: str
    message: str
    key: str
    seconds: float | None
    made_at: datetime | None
    version: str
    logic_version: int
    inputs: Sequence[ArtifactFact]
    outputs: Sequence[ArtifactFact]


@dataclass(frozen=True)
class Fact:
    """A name and its value, for a list of facts."""

    name: str
    value: str


@dataclass(frozen=True)
class RunReport:
    """Everything that the page shows."""

    name: str
    store_uri: str
    updated: datetime | None
    verdict: str
    """`passed`, `failed`, `stopped` or `unfinished`: for the mark beside it."""
    headline: str
    """The verdict in a sentence or two."""
    role: str
    teacher: str
    student: str
    facts: Sequence[Fact]
    notices: Sequence[str]
    """What a reader must know first: an emulated teacher, lost artifacts."""
    contenders: Sequence[Contender]
    comparison: Comparison | None
    """The evaluations row by row beside the student's; None where there is nothing to compare."""
    gates: Sequence[GateFact]
    funnel: Sequence[FunnelStep]
    teaching: Teaching | None
    histograms: Sequence[Histogram]
    losses: Sequence[LossPoint]
    making: Sequence[Fact]
    """Of training and export."""
    optimization: Optimization | None
    findings: Sequence[Finding]
    compared: Sequence[ComparedRow]
    stages: Sequence[StageFact]
    commands: Sequence[Fact]
