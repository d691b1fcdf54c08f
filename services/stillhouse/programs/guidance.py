"""A program as guidance of its role's prompt, and the check that it renders what it was kept with; without DSPy.

Called by whoever asks a student under an optimised program. Knows roles by their protocol.
"""

from __future__ import annotations

from collections.abc import Mapping

from stillhouse.errors import FailedPrecondition
from stillhouse.programs.program import Predictor, Program
from stillhouse.programs.prompts import prompts_sha256
from stillhouse.roles.role import Guidance, Role

_PROBES = 3
_SEED = 7


def probes_of(role: Role) -> list[Mapping[str, str]]:
    """Inputs of the role, for which a new program's prompts are kept as a digest; the program holds them."""
    return [example.inputs for example in role.examples(count=_PROBES, seed=_SEED)]


def guidance_of(program: Program, role: Role) -> Guidance:
    """The instructions and demos of the program's one predictor, for `role.messages`.

    Raises FailedPrecondition where the program is of another role or role version, or its fields are not the role's.
    """
    predictor = _predictor_of(program, role)
    names = {*role.input_fields, *role.output_fields}
    demos = (
        {name: text for name, text in demo.fields.items() if name in names and isinstance(text, str)}
        for demo in predictor.demos
    )
    return Guidance(predictor.instructions, tuple(demos))


def check_rendering(program: Program, role: Role) -> None:
    """Raises FailedPrecondition where the role's prompts for its probes are not what the program was kept with."""
    guidance = guidance_of(program, role)
    prompts = [
        [{"role": message.role, "content": message.content} for message in role.messages(inputs, guidance)]
        for inputs in ({name: str(text) for name, text in probe.items()} for probe in program.probes)
    ]
    ((name, predictor),) = program.predictors.items()
    if prompts_sha256(prompts) != predictor.prompts_sha256:
        raise FailedPrecondition(
            f"{name} of the program does not render the prompts it was kept with: the file was changed, or role "
            f"{role.name} renders otherwise in this version of stillhouse; take the folder from where it was written"
        )


def check_role(program: Program, role: Role) -> None:
    """Raises FailedPrecondition where the program is of another role, or of another version of it."""
    if program.role != role.name:
        raise FailedPrecondition(f"the program is of role {program.role}, not {role.name}; name one of that role")
    if program.role_version != role.version:
        raise FailedPrecondition(
            f"the program is of version {program.role_version} of role {role.name}, which is at {role.version} here; "
            "optimize again, or use the stillhouse that wrote it"
        )


def _predictor_of(program: Program, role: Role) -> Predictor:
    check_role(program, role)
    if len(program.predictors) != 1:
        raise FailedPrecondition(
            f"the program has {len(program.predictors)} predictors, and a prompt of role {role.name} has one"
        )
    (predictor,) = program.predictors.values()
    fields = {kind: [field.name for field in predictor.fields if field.kind == kind] for kind in ("input", "output")}
    if fields != {"input": list(role.input_fields), "output": list(role.output_fields)}:
        raise FailedPrecondition(
            f"the program's fields ({', '.join(field.name for field in predictor.fields)}) are not those of role "
            f"{role.name} ({', '.join((*role.input_fields, *role.output_fields))})"
        )
    return predictor
