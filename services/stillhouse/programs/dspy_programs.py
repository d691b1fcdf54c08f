"""A DSPy module's whole state as a Program, and a Program back into a fresh module that renders the same prompts.

The optimizer and `program import` call it; with dspy_modules the only code of this package that imports DSPy. DSPy's
own `save` is not used: it passes frozen sub-modules by and restores fields by position.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dspy
from dspy.adapters.utils import get_annotation_name

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.programs.dspy_modules import modules_of, predictors_of, rendered_prompts
from stillhouse.programs.program import Demo, Field, Json, ModuleNode, Predictor, Program
from stillhouse.programs.prompts import prompts_sha256
from stillhouse.programs.public_settings import is_secret, public_settings
from stillhouse.programs.values import as_json, json_schema, typed_json, typed_value


def capture(module: dspy.Module, *, role: str, role_version: int, probes: Sequence[Mapping[str, Json]]) -> Program:
    """All that an optimizer can have changed in the module, with the digest of its prompts for the probes.

    `probes` are inputs of the module, one or more. Of language models only those that a predictor has for itself are
    kept, without secrets and addresses. Raises InvalidArgument naming the module, or predictor, demo and field, that
    can't be kept, and what `rendered_prompts` raises.
    """
    nodes = {
        name: ModuleNode(type(one).__name__, bool(getattr(one, "_compiled", False)))
        for name, one in modules_of(module).items()
    }
    prompts = rendered_prompts(module, probes)
    predictors = {
        name: _captured(name, predictor, prompts_sha256(prompts[name]))
        for name, predictor in predictors_of(module).items()
    }
    return Program(role, role_version, nodes, predictors, tuple(dict(probe) for probe in probes))


def restore(
    program: Program,
    module: dspy.Module,
    *,
    make_lm: Callable[[Mapping[str, Json]], dspy.BaseLM] | None = None,
) -> dspy.Module:
    """Gives a fresh module of the same classes the program's state, and returns it.

    Fields are set by name. Language models stay the module's, as their credentials are nowhere in a program; with
    `make_lm` each predictor that had its own gets what that makes of its settings. Raises FailedPrecondition naming
    modules or fields that are not those of the program, a demo that does not fit, and predictors whose prompts for the
    probes are not what they were; the module is then of no use.
    """
    _check_tree(program, module)
    for name, predictor in predictors_of(module).items():
        _set(name, predictor, program.predictors[name])
        settings = program.predictors[name].lm
        if make_lm is not None and settings is not None:
            predictor.lm = make_lm(settings)
    for name, one in modules_of(module).items():
        one._compiled = program.modules[name].compiled
    prompts = rendered_prompts(module, program.probes)
    kept = program.predictors
    if other := [name for name in prompts if prompts_sha256(prompts[name]) != kept[name].prompts_sha256]:
        raise FailedPrecondition(
            f"{', '.join(other)} of the program does not render the prompts it was kept with: the file was changed, "
            "or its module, DSPy or the adapter is another here; take the versions that its metadata name"
        )
    return module


def _captured(name: str, predictor: dspy.Predict, prompts: str) -> Predictor:
    signature = predictor.signature
    try:
        return Predictor(
            instructions=signature.instructions,
            fields=_fields(signature),
            demos=tuple(_demo(demo, number, signature) for number, demo in enumerate(predictor.demos, start=1)),
            config=public_settings(predictor.config),
            decisions={output: as_json(value) for output, value in predictor.fields.items()},
            lm=None if predictor.lm is None else _lm_settings(predictor.lm),
            prompts_sha256=prompts,
        )
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"predictor {name} can't be kept: {exc}") from exc


def _fields(signature: type[dspy.Signature]) -> tuple[Field, ...]:
    return tuple(
        Field(
            name=name,
            kind=field.json_schema_extra["__dspy_field_type"],
            annotation=get_annotation_name(field.annotation),
            schema=json_schema(field.rebuild_annotation()),
            prefix=field.json_schema_extra["prefix"],
            description=field.json_schema_extra["desc"],
        )
        for name, field in signature.fields.items()
    )


def _demo(demo: Any, number: int, signature: type[dspy.Signature]) -> Demo:
    """Raises ValueError naming demo and field."""
    if type(demo) not in (dict, dspy.Example):
        raise ValueError(f"demo {number} is a {type(demo).__name__}, neither a dict nor a dspy.Example")
    is_example = isinstance(demo, dspy.Example)
    values = demo._store if is_example else demo
    fields: dict[str, Json] = {}
    typed: list[str] = []
    for name, value in values.items():
        if type(name) is not str:
            raise ValueError(f"demo {number} has a field {name!r}, whose name is no text")
        try:
            fields[name] = as_json(value)
        except ValueError as plain:
            fields[name] = _typed(value, name, f"demo {number}, field {name}: {plain}", signature)
            typed.append(name)
    keys = demo._input_keys if is_example else None
    return Demo(fields, tuple(typed), is_example, None if keys is None else tuple(sorted(keys)))


def _typed(value: Any, name: str, why: str, signature: type[dspy.Signature]) -> Json:
    """Raises ValueError, with `why` it is no JSON as it is."""
    if name not in signature.fields:
        raise ValueError(f"{why}, and the signature has no such field to say how to read it")
    try:
        return typed_json(value, signature.fields[name].annotation)
    except ValueError as exc:
        raise ValueError(f"{why}, and {exc}") from exc


def _lm_settings(lm: dspy.BaseLM) -> dict[str, Json]:
    """What DSPy's own state of a model holds, without secrets."""
    own = {name: getattr(lm, name) for name in ("model", "model_type", "cache", "num_retries") if hasattr(lm, name)}
    return public_settings({**own, **lm.kwargs})


def _check_tree(program: Program, module: dspy.Module) -> None:
    """Raises FailedPrecondition naming every module that is missing, too much or of another class."""
    here = {name: type(one).__name__ for name, one in modules_of(module).items()}
    there = {name: node.kind for name, node in program.modules.items()}
    faults = [f"{name} is missing" for name in there if name not in here]
    faults += [f"{name} is not in the program" for name in here if name not in there]
    faults += [
        f"{name} is a {here[name]}, not a {kind}" for name, kind in there.items() if here.get(name, kind) != kind
    ]
    if not faults and set(predictors_of(module)) != set(program.predictors):
        faults.append("its predictors are others")
    if faults:
        raise FailedPrecondition(f"the program does not fit {type(module).__name__}: {'; '.join(faults)}")


def _set(name: str, predictor: dspy.Predict, kept: Predictor) -> None:
    signature = _signature(name, predictor.signature, kept)
    predictor.signature = signature
    predictor.demos = [_restored(name, demo, number, signature) for number, demo in enumerate(kept.demos, start=1)]
    own = {setting: value for setting, value in predictor.config.items() if is_secret(setting, value)}
    predictor.config = {**own, **copy.deepcopy(dict(kept.config))}
    predictor.fields = copy.deepcopy(dict(kept.decisions))


def _signature(name: str, signature: type[dspy.Signature], kept: Predictor) -> type[dspy.Signature]:
    """A new signature: the old one may be shared by every module of its class. Raises FailedPrecondition."""
    here = [(field.kind, field.name, field.annotation, field.schema) for field in _fields(signature)]
    there = [(field.kind, field.name, field.annotation, field.schema) for field in kept.fields]
    if here != there:
        theirs, ours = (
            "; ".join(f"{kind} {field}: {annotation}" for kind, field, annotation, _ in fields)
            for fields in (there, here)
        )
        why = "their JSON schemas differ" if theirs == ours else f"the program has {theirs}; the module has {ours}"
        raise FailedPrecondition(f"predictor {name} has other fields than in the program: {why}")
    made: type[dspy.Signature] = dspy.Signature(copy.deepcopy(signature.fields), kept.instructions)
    for field in kept.fields:
        made.fields[field.name].json_schema_extra.update(prefix=field.prefix, desc=field.description)
    text = kept.instructions
    # DSPy cleans instructions like a docstring, whose first line loses its indent unless a line break is before it.
    made.instructions = text if inspect.cleandoc(text) == text else f"\n{text}"
    return made


def _restored(name: str, demo: Demo, number: int, signature: type[dspy.Signature]) -> Any:
    values: dict[str, Any] = copy.deepcopy(dict(demo.fields))
    for field in demo.typed:
        try:
            values[field] = typed_value(demo.fields[field], signature.fields[field].annotation)
        except (KeyError, ValueError) as exc:
            raise FailedPrecondition(f"predictor {name}, demo {number}, field {field}: {exc}") from exc
    if not demo.is_example:
        return values
    example = dspy.Example(values)
    return example if demo.input_keys is None else example.with_inputs(*demo.input_keys)
