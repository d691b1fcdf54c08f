"""A local GGUF file as a teacher: served by our own student server in a process of its own, which ends with this one.

Opened by `opening`. It starts the server by its command and never imports it, nor llama.cpp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from stillhouse.errors import FailedPrecondition, NotFound, StillhouseError
from stillhouse.teachers.child import ChildTeacher, start_child
from stillhouse.teachers.student import connect_student
from stillhouse.teachers.teacher import Teacher
from stillhouse.v1.teacher_pb2 import TeacherModel

DEFAULT_SLOTS = 4
_START_SECONDS = 300.0
"""A large file is hashed and read from a slow disk."""
_PROMPT_TOKENS = 8192
"""Room in the context beside the answer; the server keeps to what the model was trained for."""
_OTHER_SERVERS = ("HOST", "PORT", "TOKEN", "TOKEN_FILE", "HTTP_PORT", "TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA")


async def open_gguf(model: TeacherModel, environ: Mapping[str, str]) -> Teacher:
    """Serves the file `model.model` on a free port of this machine, in `model.concurrency` slots (4 by default).

    STILLHOUSE_PARALLEL, _CONTEXT, _THREADS and _GPU_LAYERS are the server's own. Raises NotFound for the file and
    FailedPrecondition, with the server's last words, where it does not start.
    """
    path = Path(model.model).expanduser()
    if not await asyncio.to_thread(path.is_file):
        raise NotFound(f"no such GGUF file: {model.model or '(none is named)'}", field="model")
    # What is set for a server of the user's own does not hold for this one.
    own = {f"STILLHOUSE_{name}" for name in _OTHER_SERVERS}
    environment = {name: value for name, value in environ.items() if name not in own}
    arguments = ["stillhouse.student_inference", "serve", "--model", str(path), "--host", "127.0.0.1", "--port", "0"]
    if model.concurrency or not environ.get("STILLHOUSE_PARALLEL"):
        arguments += ["--parallel", str(model.concurrency or DEFAULT_SLOTS)]
    if not environ.get("STILLHOUSE_CONTEXT"):
        arguments += ["--context", str(model.max_output_tokens + _PROMPT_TOKENS)]
    child = await start_child(arguments, environment, start_seconds=_START_SECONDS)
    try:
        address = child.first_line.rpartition(" on ")[2]
        return ChildTeacher(await connect_student(address, token=None, ca=None, scheme="gguf"), child)
    except StillhouseError as exc:
        await child.close()
        raise FailedPrecondition(f"the server of {path} started but can't be asked: {exc.message}") from exc
    except BaseException:
        await child.close()
        raise
