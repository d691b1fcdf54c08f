"""A teacher in the place of a student: asked as its stage asks, repair included, through the answer log and the budget.

Called by the stage and the command line. Its answers are kept and retried below; the evaluation's own log stays out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from threading import Event

from stillhouse.errors import Cancelled
from stillhouse.evaluator.asking import FINAL
from stillhouse.evaluator.evaluation import EvaluationPlan, Measured, check_plan, measure
from stillhouse.evaluator.student import Question, StudentAnswer
from stillhouse.programs.kept import kept_guidance
from stillhouse.roles.role import Role
from stillhouse.teachers.dialogue import Concept, Dialogue, Manner, Outcome, manner_of
from stillhouse.teachers.judging import Judge
from stillhouse.teachers.paid import PaidTeacher
from stillhouse.teachers.purse import Purse, open_paid_teacher
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.teacher_pb2 import TeacherModel

_POLL_SECONDS = 0.2


class TeacherSubject:
    """Implements `Student`: one question of the evaluation is one dialogue, with one fresh answer."""

    def __init__(
        self, teacher: PaidTeacher, role: Role, manner: Manner, runner: asyncio.Runner, stopping: Event
    ) -> None:
        """Made by `teaching`."""
        self._teacher = teacher
        self._role = role
        self._manner = manner
        self._runner = runner
        self._stopping = stopping
        self.cost_usd = 0.0
        """What the answers of all rows cost when they were paid for."""

    @property
    def address(self) -> str:
        """The teacher's identity."""
        return self._teacher.identity

    def model_sha256(self) -> str:
        """A teacher has none."""
        return ""

    def generate(self, question: Question) -> StudentAnswer:
        """One dialogue. Raises the teacher's errors, which are final, and Cancelled when it is to stop."""
        outcome = self._runner.run(self._pursue(question))
        answers = [call.answer for call in outcome.calls]
        self.cost_usd += sum(answer.cost_usd for answer in answers)
        return StudentAnswer(
            text=self._text(outcome),
            finish_reason=answers[-1].finish_reason,
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
            seconds=sum(answer.latency_seconds for answer in answers),
            model_sha256="",
        )

    def reporting(self, report: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """`report`, told whose answers these are and what they cost."""

        def tell(progress: Progress) -> None:
            told = Progress()
            told.CopyFrom(progress)
            told.message = "asking the teacher"
            figures = self._teacher.figures
            told.figures["cost_usd"] = self.cost_usd
            told.figures["from_log"] = figures.from_log
            told.figures["throttled"] = figures.throttled
            report(told)

        return tell

    async def _pursue(self, question: Question) -> Outcome:
        judge = Judge(self._role, guards=(), min_score=0.0)
        dialogue = Dialogue(self._role, judge, self._manner, self._teacher.ask, seed=question.seed)
        task = asyncio.ensure_future(dialogue.pursue(Concept(0, question.inputs)))
        while not task.done():
            await asyncio.wait({task}, timeout=_POLL_SECONDS)
            if self._stopping.is_set() and not task.done():
                await self._teacher.drain()
                await asyncio.gather(task, return_exceptions=True)
                raise Cancelled("stopped between two answers; those so far are kept, the same command goes on")
        return task.result()

    def _text(self, outcome: Outcome) -> str:
        """The accepted answer, else as much of one as there is: what was readable last, else what was said."""
        if outcome.accepted is not None:
            return outcome.response
        readable = [call for call in outcome.calls if call.judgement.outputs]
        if not readable:
            said = [call.answer.text for call in outcome.calls if call.answer.text.strip()]
            return said[-1] if said else ""
        if len(outcome.calls) == 1 and not self._manner.structured:
            return readable[0].answer.text
        outputs = readable[-1].judgement.outputs
        return self._role.answer_text({name: outputs.get(name, "") for name in self._role.output_fields})


@contextmanager
def teaching(
    model: TeacherModel, role: Role, purse: Purse, *, stopping: Event | None = None
) -> Iterator[TeacherSubject]:
    """The teacher of a reference, closed afterwards. Raises what opening it raises."""
    guidance = kept_guidance(purse.log.store, model.program, role) if model.HasField("program") else None
    manner = manner_of(model, attempts=1, place="request", guidance=guidance)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            teacher = runner.run(stack.enter_async_context(open_paid_teacher(model, purse)))
            yield TeacherSubject(teacher, role, manner, runner, stopping or Event())
        finally:
            runner.run(stack.aclose())


def measure_teacher(
    plan: EvaluationPlan,
    model: TeacherModel,
    purse: Purse,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    stopping: Event | None = None,
) -> Measured:
    """The teacher on the plan's rows; the document says which teacher it was and what its answers cost.

    Raises what `measure` does, and what asking a teacher does: FailedPrecondition once the budget is spent,
    PermissionDenied and NotFound where it refuses, Unavailable and ResourceExhausted where it stays away.
    """
    check_plan(plan)
    with teaching(model, plan.role, purse, stopping=stopping) as subject:
        measured = measure(plan, subject, report=subject.reporting(report), stopping=stopping, patience=FINAL)
        document = {**measured.document, "teacher": subject.address, "cost_usd": subject.cost_usd}
        return replace(measured, document=document, cost_usd=subject.cost_usd)
