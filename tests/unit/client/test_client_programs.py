"""An optimised program in the hands of a student's users."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dspy
import pytest

from stillhouse.artifacts.store import Store
from stillhouse.client.programs import OptimizedPrompt, optimized_module
from stillhouse.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from stillhouse.programs.document import program_sha256
from stillhouse.programs.dspy_programs import capture, rendered_prompts
from stillhouse.programs.folder import write_program
from stillhouse.programs.guidance import probes_of
from stillhouse.programs.kept import keep_program
from stillhouse.programs.program import Program
from stillhouse.roles.role import load_role

ROLE = load_role("product_owner")
INSTRUCTIONS = "Du schreibst knapp. ✓"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    module = ROLE.dspy_program()
    module.generate.signature = module.generate.signature.with_instructions(INSTRUCTIONS)
    example = next(iter(ROLE.examples(count=1, seed=1)))
    outputs = ROLE.parse(ROLE.author(example, seed=1)).outputs
    module.generate.demos = [dspy.Example(**example.inputs, **outputs, augmented=True)]
    captured = capture(module, role=ROLE.name, role_version=ROLE.version, probes=probes_of(ROLE))
    write_program(tmp_path / "program", captured, {})
    return captured


def test_the_plain_client_sends_what_the_dspy_module_sends(program: Program, tmp_path: Path) -> None:
    prompt = OptimizedPrompt.load(str(tmp_path / "program"))
    probe = probes_of(ROLE)[0]
    messages = prompt.messages(probe)
    assert messages[0].content.startswith(INSTRUCTIONS)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    module = optimized_module(str(tmp_path / "program"))
    ((_, prompts),) = rendered_prompts(module, [probe]).items()
    assert prompts == [[{"role": message.role, "content": message.content} for message in messages]]


def test_a_program_is_found_by_its_digest(program: Program, tmp_path: Path) -> None:
    store = Store.open(f"file://{tmp_path / 'store'}")
    kept = keep_program(tmp_path / "program", store).artifact
    assert kept.sha256 == program_sha256(program)
    assert OptimizedPrompt.load(f"sha256:{kept.sha256}", store=store).guidance.instructions == INSTRUCTIONS
    with pytest.raises(NotFound, match=r"no program sha256:00"):
        OptimizedPrompt.load("sha256:" + 64 * "0", store=store)
    with pytest.raises(InvalidArgument, match="needs the store"):
        OptimizedPrompt.load(f"sha256:{kept.sha256}")


def test_a_program_of_another_version_of_the_role_is_refused(program: Program, tmp_path: Path) -> None:
    write_program(tmp_path / "older", replace(program, role_version=ROLE.version - 1), {})
    for load in (OptimizedPrompt.load, optimized_module):
        with pytest.raises(FailedPrecondition, match=r"of version \d+ of role product_owner, which is at"):
            load(str(tmp_path / "older"))


def test_a_changed_byte_is_noticed(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "program" / "program.json"
    file.write_text(file.read_text(encoding="utf-8").replace("knapp", "lang."), encoding="utf-8")
    with pytest.raises(DataLoss, match=r"program\.json is not the program"):
        OptimizedPrompt.load(str(tmp_path / "program"))
