"""The program_components.json of the pipeline that Stillhouse replaces, as a program.

Called by `stillhouse program import`. The file holds a module's type, and by predictor its type, instructions, fields
and demos; what else a program has is the role's own, and is said to be.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic import Field as Described

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.programs.document import MAX_BYTES
from stillhouse.programs.guidance import probes_of
from stillhouse.programs.program import Program
from stillhouse.roles.role import Role

COMPONENTS_FILE = "program_components.json"


class _ComponentField(BaseModel):
    model_config = ConfigDict(extra="allow")
    type: Literal["input", "output"]
    desc: str | None = None


class _ComponentModule(BaseModel):
    model_config = ConfigDict(extra="allow")
    type: str
    instructions: str
    fields: dict[str, _ComponentField]
    demos: list[dict[str, JsonValue]] | None = None


class _Components(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: str
    type: str
    modules: Annotated[dict[str, _ComponentModule], Described(min_length=1)]


def import_components(data: bytes, role: Role, *, source: str) -> tuple[Program, list[str]]:
    """The program, and for a person each thing that the file lacks or that is left out.

    Raises InvalidArgument naming `source` and the place where the file is not what it should be; FailedPrecondition
    where it is of another role, its predictors or fields are not the role's, or DSPy is not installed.
    """
    components = _read(data, source)
    if components.role != role.name:
        raise FailedPrecondition(f"{source} is of role {components.role}, not {role.name}; name its role")
    try:
        from stillhouse.programs.dspy_modules import predictors_of
        from stillhouse.programs.dspy_programs import capture

        module = role.dspy_program()
    except ImportError as exc:
        raise FailedPrecondition(f"a program is imported with {exc.name}; install stillhouse[dspy]") from exc
    predictors = predictors_of(module)
    if set(predictors) != set(components.modules):
        raise FailedPrecondition(
            f"{source} has the predictors {', '.join(components.modules)}; a program of role {role.name} has "
            f"{', '.join(predictors)}"
        )
    warnings = _general_warnings(components, type(module).__name__)
    for name, kept in components.modules.items():
        warnings += [f"{name}: {warning}" for warning in _set(predictors[name], kept, f"{source}: {name}")]
    program = capture(module, role=role.name, role_version=role.version, probes=probes_of(role))
    return program, warnings


def _read(data: bytes, source: str) -> _Components:
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{source} has more than {MAX_BYTES // 1024**2} MiB: it is no {COMPONENTS_FILE}")
    try:
        return _Components.model_validate(json.loads(data))
    except ValidationError as exc:
        error = exc.errors()[0]
        place = ".".join(map(str, error["loc"]))
        raise InvalidArgument(f"{source} is no {COMPONENTS_FILE}: {place}: {error['msg']}") from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{source} is no JSON: {exc}") from exc


def _general_warnings(components: _Components, kind: str) -> list[str]:
    warnings = [
        "no model, settings, seed, data sets, scores or trials: the file has none; the metadata say so",
        "no digest of its prompts: what it renders here is taken as right",
    ]
    if components.type != kind:
        warnings.append(f"its module {components.type} is taken as {kind}")
    return [*warnings, *(f"{name} is left out: nothing here reads it" for name in components.model_extra or {})]


def _set(predictor: Any, kept: _ComponentModule, place: str) -> list[str]:
    """Gives the predictor what the file has and returns what it lacks. Raises FailedPrecondition on other fields."""
    warnings = ["no types, prefixes and order of fields: they are the role's"]
    if kept.type != type(predictor).__name__:
        warnings.append(f"a {kept.type} is taken as {type(predictor).__name__}")
    warnings += [f"{name} is left out: nothing here reads it" for name in kept.model_extra or {}]
    signature = predictor.signature
    kinds = {name: field.json_schema_extra["__dspy_field_type"] for name, field in signature.fields.items()}
    if wrong := [name for name, field in kept.fields.items() if kinds.get(name) != field.type]:
        raise FailedPrecondition(f"{place}: {wrong[0]} is no {kept.fields[wrong[0]].type} field of the role")
    for name, field in signature.fields.items():
        if name in kept.fields:
            continue
        if field.is_required():
            raise FailedPrecondition(f"{place}: the role's field {name} is missing")
        warnings.append(f"no field {name}: it is the role's")
    for name, described in kept.fields.items():
        if described.desc is None:
            warnings.append(f"no description of {name}: it is the role's")
        else:
            signature = signature.with_updated_fields(name, desc=described.desc)
    predictor.signature = signature.with_instructions(kept.instructions)
    predictor.demos = kept.demos or []
    whole = [name for name, field in signature.fields.items() if kinds[name] == "output" or field.is_required()]
    return warnings + _demo_warnings(kept.demos, whole)


def _demo_warnings(demos: list[dict[str, JsonValue]] | None, whole: list[str]) -> list[str]:
    """`whole`: the fields without which a demo is left out of the prompt."""
    if demos is None:
        return ["no demos: it has none"]
    lacking = [[name for name in whole if not isinstance(demo.get(name), str)] for demo in demos]
    return [
        f"demo {number} has no {' and no '.join(names)}: it is kept, and shown to no model"
        for number, names in enumerate(lacking, start=1)
        if names
    ]
