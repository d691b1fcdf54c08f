"""A teacher's work as this project asks for it and as the original pipeline did. Used by the teacher's benchmarks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from measuring import MAX_OUTPUT_TOKENS, MIN_SCORE, MODEL, SEED, TEMPERATURE

from stillhouse.artifacts.answers import LoggedAnswer
from stillhouse.roles.role import Role
from stillhouse.teachers.dialogue import Concept, Dialogue, Outcome, manner_of
from stillhouse.teachers.judging import Judge
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import Question, Teacher
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.teacher_generator_pb2 import GenerateRecordsRequest, TeacherStage
from stillhouse.v1.teacher_pb2 import TEACHER_PROMPT_FENCED, TeacherModel


def teacher_model(url: str = "", *, model: str = MODEL, concurrency: int = 0) -> TeacherModel:
    """The model as `stillhouse generate` asks it."""
    return TeacherModel(
        provider="vertex",
        model=model,
        prompt=TEACHER_PROMPT_FENCED,
        temperature=TEMPERATURE,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        endpoint=url,
        concurrency=concurrency,
    )


def stage_request(role: Role, teacher: TeacherModel, records: int) -> GenerateRecordsRequest:
    """One stage with the defaults of `stillhouse generate`."""
    stage = TeacherStage(name=teacher.model, teacher=teacher, min_score=MIN_SCORE, until=records, attempts=2)
    reference = RoleReference(name=role.name, version=role.version)
    return GenerateRecordsRequest(role=reference, stages=[stage], guards=role.guard_names, seed=SEED)


@asynccontextmanager
async def opened(model: TeacherModel) -> AsyncIterator[Teacher]:
    """The provider's client, without log, pace or retry."""
    client = await open_teacher(model, os.environ)
    try:
        yield client
    finally:
        await client.close()


@dataclass
class OriginalWay:
    """One call at a time with a pause after each, one repair, and on to the next concept."""

    role: Role
    model: TeacherModel
    client: Teacher
    pause_seconds: float
    calls: int = 0

    async def pursue(self, concepts: Iterable[Mapping[str, str]]) -> AsyncIterator[Outcome]:
        """The outcome of each concept, by its inputs, in turn."""
        judge = Judge(self.role, self.role.guard_names, MIN_SCORE)
        dialogue = Dialogue(self.role, judge, manner_of(self.model, attempts=1, place=""), self._ask, seed=SEED)
        for number, inputs in enumerate(concepts, start=1):
            yield await dialogue.pursue(Concept(number, inputs))

    async def _ask(self, question: Question) -> LoggedAnswer:
        self.calls += 1
        found = await self.client.ask(question, deadline_seconds=300.0)
        await asyncio.sleep(self.pause_seconds)
        return LoggedAnswer(found.text, str(found.finish_reason), found.prompt_tokens, found.completion_tokens, 0.0)
