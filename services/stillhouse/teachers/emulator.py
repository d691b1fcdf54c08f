"""The Vertex AI emulator as a teacher: the production client, against a test server of ours that costs nothing.

Opened by `opening`. The server is one that runs already, or a process that ends with this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stillhouse.errors import FailedPrecondition
from stillhouse.teachers.child import ChildTeacher, start_child
from stillhouse.teachers.teacher import Teacher
from stillhouse.teachers.vertex import VertexTeacher, open_vertex
from stillhouse.v1.teacher_pb2 import TeacherModel

BEHAVIOUR_HEADER = "stillhouse-emulator"
"""Metadata of a call: how the server is to behave for it, `faults=recorded&seed=0&latency=0.5`."""
ENDPOINT_VARIABLE = "STILLHOUSE_EMULATOR_ENDPOINT"
TOKEN_VARIABLE = "STILLHOUSE_EMULATOR_TOKEN"  # noqa: S105 - its name, not a token
_START_SECONDS = 60.0
_URL = re.compile(r"http://\S+:\d+")


async def open_emulator(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    """The emulator at `model.endpoint` or STILLHOUSE_EMULATOR_ENDPOINT, else one that is started here.

    What decides its answers is in the identity. Raises FailedPrecondition where it does not start.
    """
    endpoint = model.endpoint or environ.get(ENDPOINT_VARIABLE, "")
    if endpoint:
        return await _connect(model, endpoint, environ)
    # The token is for a server of the user's own; this one is asked over plain text, which carries none.
    own = {name: value for name, value in environ.items() if name != TOKEN_VARIABLE}
    child = await start_child(emulator_arguments(model), own, start_seconds=_START_SECONDS)
    try:
        url = _URL.search(child.first_line)
        if url is None:
            raise FailedPrecondition(f"the Vertex emulator does not say where it is: {child.first_line!r}")
        return ChildTeacher(await _connect(model, url.group(), environ), child)
    except BaseException:
        await child.close()
        raise


def emulator_identity(model: TeacherModel) -> str:
    """What an emulated answer is logged under: `emulator:gemini-2.5-flash?faults=recorded&seed=0`."""
    return f"emulator:{model.model}?faults={model.emulator.faults or 'none'}&seed={model.emulator.seed}"


def emulator_arguments(model: TeacherModel) -> list[str]:
    """What `python -m` is called with for a server that answers as the reference says."""
    options = model.emulator
    # No exponents: the server's durations have none.
    arguments = ["stillhouse.vertex_emulator", "--port", "0", "--latency", f"{options.latency_seconds:f}s"]
    arguments += ["--faults", options.faults or "none", "--seed", str(options.seed)]
    if options.requests_per_minute:
        arguments += ["--requests-per-minute", str(options.requests_per_minute)]
    return arguments


async def _connect(model: TeacherModel, endpoint: str, environ: Mapping[str, str]) -> VertexTeacher:
    located = TeacherModel()
    located.CopyFrom(model)
    located.endpoint = endpoint
    return await open_vertex(
        located, environ, identity=emulator_identity(model), headers=[(BEHAVIOUR_HEADER, _behaviour(model))]
    )


def _behaviour(model: TeacherModel) -> str:
    """For a server that others use too: its own flags are not what this reference says."""
    options = model.emulator
    return f"faults={options.faults or 'none'}&seed={options.seed}&latency={options.latency_seconds:f}"
