"""Opens the teacher that a reference names. Called by whoever asks models; the one list of providers.

A provider's libraries are imported only when one of its teachers is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.teachers.teacher import Teacher
from stillhouse.v1.teacher_pb2 import TeacherModel

_OURS = "stillhouse"


async def open_teacher(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    """The teacher; close it. `environ` holds addresses and credentials, as each provider's module says.

    Raises InvalidArgument (unknown provider; what is wrong in the reference), FailedPrecondition naming the extra to
    install where the provider's libraries are missing, and what the provider's own opening raises.
    """
    if model.provider not in _OPENERS:
        raise InvalidArgument(
            f"unknown teacher provider {model.provider!r}; it is one of {', '.join(PROVIDERS)}", field="provider"
        )
    extra, opener = _OPENERS[model.provider]
    try:
        return await opener(model, environ)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == _OURS:
            raise
        raise FailedPrecondition(
            f"provider {model.provider} needs {exc.name}, which is not installed: pip install 'stillhouse[{extra}]'",
            field="provider",
        ) from exc


async def _vertex(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    from stillhouse.teachers.vertex import open_vertex

    return await open_vertex(model, environ)


async def _litellm(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    from stillhouse.teachers.litellm import open_litellm

    return await open_litellm(model, environ)


async def _gguf(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    from stillhouse.teachers.gguf import open_gguf

    return await open_gguf(model, environ)


async def _student(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    from stillhouse.teachers.student import open_student

    return await open_student(model, environ)


async def _emulator(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    from stillhouse.teachers.emulator import open_emulator

    return await open_emulator(model, environ)


_Opener = Callable[[TeacherModel, Mapping[str, str]], Awaitable[Teacher]]

_OPENERS: Mapping[str, tuple[str, _Opener]] = {
    "vertex": ("teacher-generator", _vertex),
    "vertex_sdk": ("teacher-generator", _vertex),
    "litellm": ("teacher-generator", _litellm),
    "gguf": ("student-inference", _gguf),
    "student": ("teacher-generator", _student),
    "emulator": ("vertex-emulator", _emulator),
}
PROVIDERS = tuple(_OPENERS)
