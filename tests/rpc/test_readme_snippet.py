"""The Python of the README, run against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from program_folders import demos, product_owner_program
from scripted_student_server import OUTPUTS, ScriptedServicer, prompt_text, served
from stillhouse.programs.folder import write_program
from stillhouse.roles.role import load_role

README = Path(__file__).parents[2] / "README.md"


def test_the_snippet_prints_a_students_answers(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    write_program(tmp_path / "PROGRAM_DIR", product_owner_program(shown=demos(1)), {})
    student = ScriptedServicer(lambda _: load_role("product_owner").answer_text(OUTPUTS))
    with served(student) as server:
        done = subprocess.run(
            [sys.executable, "-c", snippet.replace("localhost:50051", f"127.0.0.1:{server.port}")],
            cwd=tmp_path,
            env={**os.environ, "DSPY_CACHEDIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("product_name: Day Pages") == 2
    assert {prompt_text(request) for request in student.requests} == {
        "CONCEPT\nA diary for gardeners\n\nREQUIREMENTS\nfunctional_requirements: []"
    }
    assert [len(request.chat.messages) for request in student.requests] == [4, 4], "system, a demo, the question"
