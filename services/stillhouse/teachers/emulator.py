"""The Vertex AI emulator as a teacher: the production client, against a test server of ours that costs nothing.

Opened by `opening`. The server is one that runs already, or a process that ends with this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stillhouse.errors import FailedPrecondition
from stillhouse.teachers.child import Child, start_child
from stillhouse.teachers.teacher import Answer, Question
from stillhouse.teachers.vertex import VertexTeacher, open_vertex
from stillhouse.v1.teacher_pb2 import TeacherModel

ENDPOINT_VARIABLE = "STILLHOUSE_EMULATOR_ENDPOINT"
_START_SECONDS = 60.0
_URL = re.compile(r"http://\S+:\d+")


class EmulatorTeacher:
    """One emulated model, and its server where that is ours."""

    slots: int | None = None

    def __init__(self, vertex: VertexTeacher, child: Child) -> None:
        """Owns both."""
        self.identity = vertex.identity
        self._vertex = vertex
        self._child = child

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        """See Teacher."""
        return await self._vertex.ask(question, deadline_seconds=deadline_seconds)

    async def close(self) -> None:
        """See Teacher."""
        await self._vertex.close()
        await self._child.close()


async def open_emulator(model: TeacherModel, environ: Mapping[str, str]) -> VertexTeacher | EmulatorTeacher:
    """The emulator at `model.endpoint` or STILLHOUSE_EMULATOR_ENDPOINT, else one that is started here.

    What decides its answers is in the identity. Raises FailedPrecondition where it does not start.
    """
    endpoint = model.endpoint or environ.get(ENDPOINT_VARIABLE, "")
    if endpoint:
        return await _connect(model, endpoint, environ)
    child = await start_child(_arguments(model), environ, start_seconds=_START_SECONDS)
    try:
        url = _URL.search(child.first_line)
        if url is None:
            raise FailedPrecondition(f"the Vertex emulator does not say where it is: {child.first_line!r}")
        return EmulatorTeacher(await _connect(model, url.group(), environ), child)
    except BaseException:
        await child.close()
        raise


def emulator_identity(model: TeacherModel) -> str:
    """What an emulated answer is logged under: `emulator:gemini-2.5-flash?faults=recorded&seed=0`."""
    return f"emulator:{model.model}?faults={model.emulator.faults or 'none'}&seed={model.emulator.seed}"


async def _connect(model: TeacherModel, endpoint: str, environ: Mapping[str, str]) -> VertexTeacher:
    located = TeacherModel()
    located.CopyFrom(model)
    located.endpoint = endpoint
    return await open_vertex(located, environ, identity=emulator_identity(model))


def _arguments(model: TeacherModel) -> list[str]:
    options = model.emulator
    arguments = ["stillhouse.vertex_emulator", "--port", "0", "--latency", f"{options.latency_seconds:g}s"]
    arguments += ["--faults", options.faults or "none", "--seed", str(options.seed)]
    if options.requests_per_minute:
        arguments += ["--requests-per-minute", str(options.requests_per_minute)]
    return arguments
