"""A served student as a teacher, over gRPC. Opened by `opening` (rejection sampling) and by `gguf`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from stillhouse.client.student import GenerationOptions, StudentClient
from stillhouse.errors import Cancelled, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from stillhouse.teachers.teacher import Answer, FinishReason, Question
from stillhouse.v1.teacher_pb2 import TeacherModel

TOKEN_VARIABLE = "STILLHOUSE_STUDENT_TOKEN"  # noqa: S105 - its name, not a token
CA_VARIABLE = "STILLHOUSE_STUDENT_CA"
_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class StudentTeacher:
    """One student that is being served. It does not think: a thinking budget is nothing to it."""

    def __init__(self, client: StudentClient, *, model_sha256: str, slots: int | None, identity: str) -> None:
        """`model_sha256` is the model that must answer; the client makes no retries."""
        self.identity = identity
        self.slots = slots
        self._client = client
        self._model_sha256 = model_sha256

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        """See Teacher. Raises FailedPrecondition where another model answers by now."""
        schema = question.response_schema
        options = GenerationOptions(
            temperature=question.temperature,
            max_tokens=question.max_output_tokens,
            seed=question.seed_of_31_bits,
            json_schema=None if schema is None else json.dumps(schema),
        )
        try:
            answer = await self._client.generate_async(
                list(question.messages), options, deadline_seconds=deadline_seconds
            )
        except ResourceExhausted as error:
            if error.retry_after_seconds is None:
                # A full server says when to come back; what does not fit never will.
                raise InvalidArgument(error.message) from error
            raise
        except Cancelled as error:
            # By a server that ends: nobody here did, for that would be a CancelledError.
            raise Unavailable(error.message) from error
        if answer.model_sha256 != self._model_sha256:
            raise FailedPrecondition(
                f"the student at {self._client.address} serves sha256:{answer.model_sha256[:12]} by now, not "
                f"sha256:{self._model_sha256[:12]}; start again once it stays"
            )
        reason = _REASONS.get(answer.finish_reason, FinishReason.OTHER)
        is_empty = reason is FinishReason.STOP and not answer.text.strip()
        return Answer(
            text=answer.text,
            finish_reason=FinishReason.EMPTY if is_empty else reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            detail="" if reason is FinishReason.STOP and not is_empty else answer.finish_reason or "no reason given",
        )

    async def close(self) -> None:
        """See Teacher."""
        self._client.close()


async def open_student(model: TeacherModel, environ: Mapping[str, str]) -> StudentTeacher:
    """The student at `model.endpoint` (host:port). Its token and authority are in STILLHOUSE_STUDENT_TOKEN and _CA.

    Raises FailedPrecondition where it is not the one that `model.model` (a digest) names, Unavailable, and
    PermissionDenied.
    """
    address = model.endpoint.removeprefix("http://").rstrip("/")
    if not address:
        raise InvalidArgument(
            "a teacher of provider student needs the endpoint HOST:PORT of a student", field="endpoint"
        )
    ca = environ.get(CA_VARIABLE)
    teacher = await connect_student(
        address, token=environ.get(TOKEN_VARIABLE) or None, ca=Path(ca) if ca else None, scheme="student"
    )
    expected = model.model.removeprefix("sha256:")
    if expected and teacher.identity != f"student:sha256:{expected}":
        await teacher.close()
        raise FailedPrecondition(
            f"the student at {address} is {teacher.identity.removeprefix('student:')}, not sha256:{expected}; serve "
            "that one, or leave the model out",
            field="model",
        )
    return teacher


async def connect_student(address: str, *, token: str | None, ca: Path | None, scheme: str) -> StudentTeacher:
    """The student at host:port; its identity is `SCHEME:sha256:DIGEST`.

    Raises FailedPrecondition where it names no digest, and the errors of `StudentClient.info`.
    """
    # Retries are made in one layer, above the teacher.
    client = StudentClient(address, token=token, ca=ca, retries=False)
    try:
        info = await asyncio.to_thread(client.info)
        sha256 = info.model.sha256
        if not sha256:
            raise FailedPrecondition(
                f"the student at {address} does not say which model it serves, so that its answers can't be kept apart "
                "from another's; serve the file with stillhouse serve-student"
            )
    except BaseException:
        client.close()
        raise
    return StudentTeacher(client, model_sha256=sha256, slots=info.slots or None, identity=f"{scheme}:sha256:{sha256}")
