"""An optimised program for users of a student: its prompt for the plain client, or the whole as a DSPy module.

prompt = OptimizedPrompt.load("PROGRAM_DIR")
with StudentClient("localhost:50051") as client:
    client.generate(prompt.messages({"concept": ..., "requirements_yaml": ...}))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.programs.kept import checked_guidance, load_program
from stillhouse.roles.role import Guidance, Message, Role, load_role

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store


@dataclass(frozen=True)
class OptimizedPrompt:
    """A role's prompt under an optimised program."""

    role: Role
    guidance: Guidance

    @classmethod
    def load(cls, program: str | Path, *, store: Store | None = None) -> OptimizedPrompt:
        """`program` is a path (folder or program.json), or sha256:HEX in `store`.

        Raises NotFound and DataLoss where it can't be read, InvalidArgument where it is none, FailedPrecondition where
        it does not render what it was kept with.
        """
        kept = load_program(program, store)
        role = load_role(kept.role)
        return cls(role, checked_guidance(kept, role))

    def messages(self, inputs: Mapping[str, str]) -> list[Message]:
        """The chat messages for these inputs. Raises InvalidArgument if a required one is missing."""
        return self.role.messages(inputs, self.guidance)


def optimized_module(program: str | Path, *, store: Store | None = None) -> Any:
    """The role's DSPy module with the program's instructions and demos; imports dspy.

    Its language model is the configured one: `dspy.configure(lm=student_lm(...))`. Raises as `OptimizedPrompt.load`.
    """
    from stillhouse.programs.dspy_programs import restore
    from stillhouse.programs.guidance import check_role

    kept = load_program(program, store)
    role = load_role(kept.role)
    check_role(kept, role)
    return restore(kept, role.dspy_program())
