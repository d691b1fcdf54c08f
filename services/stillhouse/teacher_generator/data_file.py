"""A generation into a file of the user's own, that can be watched while it grows, taken up again, and retried.

Called by the command line. What lies beside the data file, and whose it is, is in `data_files`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from stillhouse.artifacts.answers import AnswerLog
from stillhouse.dataset.concepts import read_concepts
from stillhouse.dataset.lines import lines_of
from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound
from stillhouse.roles.role import load_role
from stillhouse.teacher_generator.asking import label_of
from stillhouse.teacher_generator.data_files import (
    DataFiles,
    Mode,
    alone,
    cut_half_line,
    keep_retries,
    open_text,
    records_present,
)
from stillhouse.teacher_generator.dead_letters import gather_dead_letters, retried_concepts
from stillhouse.teacher_generator.generation import Generation, Sources
from stillhouse.teacher_generator.ledger import Ledger, LedgerFiles, StageTally
from stillhouse.teacher_generator.options import GenerationOptions, options_of
from stillhouse.teacher_generator.progress import Reporter
from stillhouse.teacher_generator.stage import purse_of, stage_asker
from stillhouse.teachers.dialogue import Concept
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest


@dataclass(frozen=True)
class FileOutcome:
    """How a generation into a file ended."""

    tally: StageTally
    ledger: Ledger
    skipped: Mapping[str, int]
    spent_usd: float
    """What all answers cost, those from the log and those beyond the target included."""


@dataclass(frozen=True)
class FileGeneration:
    """Everything but the request that a generation into a file needs."""

    log: AnswerLog
    environ: Mapping[str, str]
    report: Callable[[Progress], None]
    stopping: Event

    def generate(
        self, request: GenerateRecordsRequest, concepts: Path, files: DataFiles, *, resume: bool, overwrite: bool
    ) -> FileOutcome:
        """Generates into the data file, a whole line an acceptance.

        Raises FailedPrecondition where the file is there and neither `resume` nor `overwrite` is given, NotFound or
        InvalidArgument where the concepts can't be read, all before anything is written or asked; and what
        `Generation.run` raises.
        """
        role = load_role(request.role.name)
        options = options_of(request, role, self.log.store)
        if files.records.exists() and not (resume or overwrite):
            raise FailedPrecondition(
                f"{files.records} is there already; --resume goes on with it, --overwrite starts it anew (answers that "
                "were paid for are kept in the store in either case)"
            )
        if files.records.exists() and concepts.exists() and files.records.samefile(concepts):
            raise InvalidArgument(f"{concepts} holds the concepts; name another output")

        def read() -> Iterator[Concept]:
            for row in read_concepts(lines_of(concepts), source=concepts.name, shape=role):
                yield Concept(row.line, row.inputs, row.labels)

        if not sum(1 for _ in read()):
            raise InvalidArgument(f"{concepts} holds no concept; stillhouse concepts --output {concepts} writes some")
        with alone(files):
            present = records_present(files.records, role) if resume else Counter[int]()
            files.write_request(request)
            # They are written afresh below, from the log.
            files.retried_letters.unlink(missing_ok=True)
            files.retried_calls.unlink(missing_ok=True)
            if resume:
                keep_retries(files.calls)
            with ExitStack() as stack:
                mode: Mode = "a" if resume else "w"
                streams = _opened(stack, (files.records, mode), (files.calls, mode), (files.dead_letters, "w"))
                outcome = self._run(request, options, read, Ledger(role, streams, present.total(), present))
            _gather(outcome, [files.dead_letters], files)
            return outcome

    def retry(self, request: GenerateRecordsRequest, files: DataFiles) -> FileOutcome:
        """Asks about the dead letters again; what is answered well now is appended, the rest stays set aside.

        Raises NotFound where there are no dead letters, and what `Generation.run` raises.
        """
        role = load_role(request.role.name)
        options = options_of(request, role, self.log.store)
        with alone(files):
            letters, present = files.retried_letters, records_present(files.records, role)
            if not letters.exists():
                # Until the retry has ended the letters lie aside, so that one that is stopped finds all of them again.
                if not files.dead_letters.is_file():
                    raise NotFound(f"no such file: {files.dead_letters}; nothing was set aside")
                cut_half_line(files.dead_letters)
                gather_dead_letters([files.dead_letters], letters, is_answered=lambda digest: digest in present)
            with ExitStack() as stack:
                streams = _opened(stack, (files.records, "a"), (files.retried_calls, "w"), (files.dead_letters, "w"))
                ledger = Ledger(role, streams, present.total(), present, is_retry=True)
                model = label_of(request.stages[0].teacher)
                outcome = self._run(request, options, lambda: retried_concepts(letters, model=model), ledger)
            with open_text(files.calls, "a") as stream:
                stream.writelines(lines_of(files.retried_calls))
            _gather(outcome, [letters, files.dead_letters], files)
            letters.unlink()
            files.retried_calls.unlink()
            return outcome

    def _run(
        self,
        request: GenerateRecordsRequest,
        options: GenerationOptions,
        concepts: Callable[[], Iterator[Concept]],
        ledger: Ledger,
    ) -> FileOutcome:
        purse = purse_of(request, self.log, self.environ)
        reporter = Reporter(ledger, self.report)
        sources = Sources(
            concepts=concepts, imported=lambda _: (), open_asker=lambda stage: stage_asker(stage, purse, reporter)
        )
        generation = Generation(
            ledger.role, options, sources, ledger, stopping=self.stopping, on_progress=reporter.settled
        )
        tallies = asyncio.run(generation.run())
        return FileOutcome(tallies[-1], ledger, generation.skipped, purse.budget.spent_usd)


def _opened(stack: ExitStack, *files: tuple[Path, Mode]) -> LedgerFiles:
    return LedgerFiles(*(stack.enter_context(open_text(path, mode)) for path, mode in files))


def _gather(outcome: FileOutcome, letters: Sequence[Path], files: DataFiles) -> None:
    ledger = outcome.ledger
    ledger.figures.dead_letters = gather_dead_letters(letters, files.dead_letters, is_answered=ledger.is_answered)
