"""Opens the teacher that a reference names. Called by whoever asks models.

A provider's libraries are imported only when one of its teachers is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.teachers.providers import EXTRAS
from stillhouse.teachers.teacher import Teacher
from stillhouse.v1.teacher_pb2 import TeacherModel


async def open_teacher(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    """The teacher; close it. `environ` holds addresses and credentials, as each provider's module says.

    Raises InvalidArgument (unknown provider; what is wrong in the reference), FailedPrecondition naming the extra to
    install where the provider's libraries are missing, and what the provider's own opening raises.
    """
    if model.provider not in EXTRAS:
        raise InvalidArgument(
            f"unknown teacher provider {model.provider!r}; it is one of {', '.join(EXTRAS)}", field="provider"
        )
    try:
        return await _opener(model.provider)(model, environ)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == "stillhouse":
            raise
        raise FailedPrecondition(
            f"provider {model.provider} needs {exc.name}, which is not installed: "
            f"pip install 'stillhouse[{EXTRAS[model.provider]}]'",
            field="provider",
        ) from exc


def _opener(provider: str) -> Callable[[TeacherModel, Mapping[str, str]], Awaitable[Teacher]]:
    match provider:
        case "litellm":
            from stillhouse.teachers.litellm import open_litellm

            return open_litellm
        case "gguf":
            from stillhouse.teachers.gguf import open_gguf

            return open_gguf
        case "student":
            from stillhouse.teachers.student import open_student

            return open_student
        case "emulator":
            from stillhouse.teachers.emulator import open_emulator

            return open_emulator
        case _:
            from stillhouse.teachers.vertex import open_vertex

            return open_vertex
