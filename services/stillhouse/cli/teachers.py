"""The options that name a teacher, and the reference that they make. Called by the commands that ask one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.teachers.providers import PROVIDERS

if TYPE_CHECKING:
    from stillhouse.v1.teacher_pb2 import TeacherModel

PROMPTS = ("fenced", "structured", "plain")
FAULTS = ("none", "recorded")
DEFAULT_MODEL = "gemini-2.5-flash"

ModelOption = Annotated[str, typer.Option(help="As the provider names it; for gguf a file.")]
EndpointOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="http:// is plain text without a credential; HOST:PORT for a student."),
]


ProgramOption = Annotated[
    str | None,
    typer.Option(metavar="DIR|sha256:HEX", help="An optimised program, in the place of the role's own prompt."),
]


def teacher_model(
    provider: str, prompt: str, *, faults: str = "recorded", latency_seconds: float = 0.5, **fields: Any
) -> TeacherModel:
    """The reference; `faults` and `latency_seconds` are the emulator's, `fields` TeacherModel's own where not None.

    Raises BadParameter.
    """
    from stillhouse.v1.teacher_pb2 import EmulatorOptions, TeacherModel, TeacherPrompt

    if faults not in FAULTS:
        raise typer.BadParameter(f"{faults!r} is none of {', '.join(FAULTS)}", param_hint="--faults")
    if prompt not in PROMPTS:
        raise typer.BadParameter(f"{prompt!r} is none of {', '.join(PROMPTS)}", param_hint="--prompt")
    model = TeacherModel(
        provider=checked_provider(provider),
        prompt=TeacherPrompt.Value(f"TEACHER_PROMPT_{prompt.upper()}"),
        **{name: value for name, value in fields.items() if value is not None},
    )
    if provider == "emulator":
        model.emulator.CopyFrom(EmulatorOptions(faults=faults, latency_seconds=latency_seconds))
    return model


def checked_provider(provider: str) -> str:
    """The provider's own name. Raises BadParameter."""
    if provider not in PROVIDERS:
        raise typer.BadParameter(f"{provider!r} is none of {', '.join(PROVIDERS)}", param_hint="--provider")
    return "vertex" if provider == "vertex_sdk" else provider
