"""The emulator as a teacher: started as a process that ends with who started it, or at an address."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripted_teacher import question
from stillhouse.errors import FailedPrecondition
from stillhouse.roles.role import load_role
from stillhouse.teachers.child import start_child
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import Question
from stillhouse.v1.teacher_pb2 import EmulatorOptions, TeacherModel
from stillhouse.vertex_emulator.config import EmulatorConfig
from stillhouse.vertex_emulator.server import emulator
from vertex_fixture import text_response, vertex_server
from waiting import wait_until

FLASH = "gemini-2.5-flash"
HOLD = "import sys,os;print('here %d' % os.getpid(),flush=True);sys.stdin.read()"


def _model(**fields: str) -> TeacherModel:
    options = EmulatorOptions(faults="none", seed=3)
    return TeacherModel(provider="emulator", model=FLASH, emulator=options, **fields)


def test_an_emulator_of_ones_own_answers_and_ends_with_the_teacher() -> None:
    async def run() -> tuple[str, str, int]:
        # A token is for a server of the user's own: this one is asked without.
        teacher = await open_teacher(_model(), {**os.environ, "STILLHOUSE_EMULATOR_TOKEN": "secret"})
        try:
            found = await teacher.ask(question(max_output_tokens=1000, thinking_budget=0), deadline_seconds=30)
        finally:
            await teacher.close()
        return found.text, teacher.identity, found.prompt_tokens

    text, identity, prompt_tokens = asyncio.run(run())
    assert text
    assert prompt_tokens > 0
    assert identity == f"emulator:{FLASH}?faults=none&seed=3"


def test_an_emulator_that_runs_already_is_asked_where_it_is() -> None:
    async def run() -> list[str]:
        async with vertex_server(lambda _: text_response("from there")) as server:
            texts = []
            url = f"http://127.0.0.1:{server.port}"
            for model, environ in ((_model(endpoint=url), {}), (_model(), {"STILLHOUSE_EMULATOR_ENDPOINT": url})):
                teacher = await open_teacher(model, environ)
                texts.append((await teacher.ask(question(), deadline_seconds=20)).text)
                assert teacher.identity == f"emulator:{FLASH}?faults=none&seed=3"
                await teacher.close()
            return texts

    assert asyncio.run(run()) == ["from there"] * 2


def test_a_shared_emulator_behaves_for_each_caller_as_its_own_reference_says() -> None:
    """One server with faults and another seed: whoever asks it gets what an emulator of their own would say."""
    role = load_role("product_owner")
    (example,) = role.examples(count=1, seed=1, planted=0.0)
    asked = Question(messages=tuple(role.messages(example.inputs)), max_output_tokens=4000)

    async def answer(model: TeacherModel) -> str:
        teacher = await open_teacher(model, {})
        try:
            return (await teacher.ask(asked, deadline_seconds=30)).text
        finally:
            await teacher.close()

    async def run() -> tuple[list[str], list[str]]:
        models = [
            TeacherModel(provider="emulator", model=FLASH, emulator=EmulatorOptions(faults=faults, seed=seed))
            for faults, seed in (("none", 3), ("recorded", 3), ("none", 4))
        ]
        own = [await answer(model) for model in models]
        async with emulator(EmulatorConfig(seed=99, recorded_faults=True)) as server:
            for model in models:
                model.endpoint = server.url
            return own, [await answer(model) for model in models]

    own, shared = asyncio.run(run())
    assert shared == own
    assert own[0] != own[2]


def test_a_child_that_does_not_start_leaves_its_last_words() -> None:
    with pytest.raises(FailedPrecondition, match=r"did not start: .*No module named stillhouse\.nothing"):
        asyncio.run(start_child(["stillhouse.nothing"], os.environ, start_seconds=30))


def test_a_child_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text("import time; time.sleep(60)")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with pytest.raises(FailedPrecondition, match=r"did not start within 0\.5 s"):
        asyncio.run(start_child(["silent"], environ, start_seconds=0.5))


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hold.py").write_text(HOLD)
    parent_code = (
        "import asyncio,os\n"
        "from stillhouse.teachers.child import start_child\n"
        "async def main():\n"
        "    child = await start_child(['hold'], os.environ, start_seconds=30)\n"
        "    print(child.first_line.split()[1], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True, env=environ
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait(30)
    wait_until(lambda: not _is_running(child), f"the end of process {child}")


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
