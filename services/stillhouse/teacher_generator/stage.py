"""The generate stage: a GenerateRecordsRequest against a store to a GenerateRecordsResult.

Called by the Job. Answers live in the store's answer log, so a stage that is started again finds what it has paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path

from google.protobuf.struct_pb2 import Struct

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.artifacts.store import JSONL_MEDIA_TYPE
from stillhouse.dataset.concepts import read_concepts
from stillhouse.dataset.importing import Candidate, labelled, read_candidates
from stillhouse.dataset.lines import lines_of
from stillhouse.errors import InvalidArgument
from stillhouse.roles.role import Role, load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.teacher_generator.asking import StageAsker, open_asker
from stillhouse.teacher_generator.dead_letters import gather_dead_letters
from stillhouse.teacher_generator.generation import Generation, Sources
from stillhouse.teacher_generator.ledger import CALLS, DEAD_LETTERS, RECORDS, Ledger, LedgerFiles, StageTally
from stillhouse.teacher_generator.options import StageOptions, options_of
from stillhouse.teacher_generator.progress import Reporter
from stillhouse.teachers.budget import Budget
from stillhouse.teachers.dialogue import Concept
from stillhouse.teachers.purse import Purse
from stillhouse.v1.artifact_pb2 import Artifact
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, GenerateRecordsResult, StageOutcome


def generate(
    context: JobContext, request: GenerateRecordsRequest, *, environ: Mapping[str, str]
) -> GenerateRecordsResult:
    """Generates the records of a request.

    Raises InvalidArgument on bad options or concepts, FailedPrecondition once the budget is spent, PermissionDenied and
    NotFound where the teacher refuses, Unavailable where it stays away, Cancelled when it is to stop.
    """
    role = load_role(request.role.name)
    options = options_of(request, role, context.store)
    files = _Files(context, request, role)
    files.check(asks=any(stage.model is not None for stage in options.stages))
    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(files.path(f"{name}.jsonl").open("w", encoding="utf-8", newline="\n"))
            for name in (RECORDS, CALLS, DEAD_LETTERS)
        }
        ledger = Ledger(role, LedgerFiles(streams[RECORDS], streams[CALLS], streams[DEAD_LETTERS]))
        reporter = Reporter(ledger, context.report)
        purse = purse_of(request, AnswerLog(context.store), environ)
        sources = Sources(
            concepts=files.concepts,
            imported=files.imported,
            open_asker=lambda stage: stage_asker(stage, purse, reporter),
            held_out=frozenset(files.held_out()),
        )
        generation = Generation(role, options, sources, ledger, stopping=context.stopping, on_progress=reporter.settled)
        tallies = asyncio.run(generation.run())
    letters = files.path(f"{DEAD_LETTERS}.jsonl")
    ledger.figures.dead_letters = gather_dead_letters([letters], letters, is_answered=ledger.is_answered)
    return _commit(context, ledger, tallies, generation.skipped, spent_usd=purse.budget.spent_usd)


def purse_of(request: GenerateRecordsRequest, log: AnswerLog, environ: Mapping[str, str]) -> Purse:
    """The budget and prices of a request. Raises InvalidArgument on a limit that is none."""
    limit = request.max_cost_usd if request.HasField("max_cost_usd") else None
    return Purse(log, Budget(limit), environ, tuple(request.prices))


def stage_asker(stage: StageOptions, purse: Purse, reporter: Reporter) -> AbstractAsyncContextManager[StageAsker]:
    """The asker of a stage that names a model. Raises InvalidArgument for one that does not."""
    if stage.model is None:
        raise InvalidArgument(f"stage {stage.name} names no model", field="stages")
    return open_asker(stage.model, purse, on_open=reporter.opened)


class _Files:
    """The request's inputs as files of the workspace, whole and verified before the first row is read."""

    def __init__(self, context: JobContext, request: GenerateRecordsRequest, role: Role) -> None:
        self._context = context
        self._request = request
        self._role = role
        self._fetched: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        return self._context.workspace / name

    def concepts(self) -> Iterator[Concept]:
        if not self._request.HasField("concepts"):
            return
        path = self._fetch(self._request.concepts)
        lines = lines_of(path, source=self._request.concepts.name)
        for row in read_concepts(lines, source=self._request.concepts.name, shape=self._role):
            yield Concept(row.line, row.inputs, row.labels)

    def check(self, *, asks: bool) -> None:
        """Reads all concepts before the first is asked about. Raises InvalidArgument where one is bad or none there."""
        if not sum(1 for _ in self.concepts()) and asks:
            raise InvalidArgument("there is no concept to ask about; name a file that holds some", field="concepts")

    def imported(self, stage: StageOptions) -> Iterable[Candidate]:
        if stage.imported is None:
            return ()
        path, called = self._fetch(stage.imported.rows), stage.imported.source or stage.imported.rows.name
        return (
            labelled(candidate, stage.imported.model)
            for candidate in read_candidates(lines_of(path, source=called), source=called, shape=self._role)
        )

    def held_out(self) -> Iterator[str]:
        if not self._request.HasField("validation"):
            return
        path = self._fetch(self._request.validation)
        rows = read_candidates(lines_of(path), source="validation.jsonl", shape=self._role, answered=False)
        for candidate in rows:
            yield self._role.group_key(candidate.inputs)

    def _fetch(self, artifact: Artifact) -> Path:
        if artifact.sha256 not in self._fetched:
            path = self.path(f"input-{len(self._fetched)}.jsonl")
            self._fetched[artifact.sha256] = self._context.store.fetch(artifact, path)
        return self._fetched[artifact.sha256]


def _commit(
    context: JobContext, ledger: Ledger, tallies: list[StageTally], skipped: Mapping[str, int], *, spent_usd: float
) -> GenerateRecordsResult:
    artifacts = {
        name: context.store.put_file(
            context.workspace / f"{name}.jsonl",
            name=f"{name}.jsonl",
            media_type=JSONL_MEDIA_TYPE,
            producer_key=context.key,
        )
        for name in (RECORDS, CALLS, DEAD_LETTERS)
    }
    statistics = Struct()
    # Answers that came after the target was reached were paid too, and are in no line.
    surplus_usd = max(0.0, spent_usd - ledger.figures.all_models.cost_usd)
    statistics.update({**ledger.figures.as_json(), "skipped": dict(skipped), "surplus_cost_usd": surplus_usd})
    return GenerateRecordsResult(
        records=artifacts[RECORDS],
        calls=artifacts[CALLS],
        dead_letters=artifacts[DEAD_LETTERS],
        record_count=ledger.records,
        cost_usd=spent_usd,
        stages=[
            StageOutcome(name=tally.name, accepted=tally.accepted, attempted=tally.attempted, ended=tally.ended)
            for tally in tallies
        ],
        statistics=statistics,
    )
