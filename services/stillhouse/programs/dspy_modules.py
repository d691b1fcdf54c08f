"""The tree of a DSPy module, and the prompts that it sends.

Called by dspy_programs. DSPy's own walk passes frozen sub-modules and nested lists by; this one does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import dspy
from dspy.predict.parameter import Parameter

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.programs.program import ROOT
from stillhouse.programs.prompts import Prompt

_NO_CHILDREN = frozenset({"history", "callbacks"})
_PREDICTORS_OWN = _NO_CHILDREN | {"config", "demos", "fields", "lm", "signature", "traces", "train"}


def modules_of(module: dspy.Module) -> dict[str, dspy.Module]:
    """Every module of the tree by the name that DSPy gives it, predictors and frozen sub-modules included.

    A module that can be reached by several ways stands under the first. Raises InvalidArgument where something holds
    state that only its own code knows how to keep.
    """
    found: dict[str, dspy.Module] = {}
    _visit(ROOT, module, found, set())
    return found


def predictors_of(module: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors among `modules_of`, in its order."""
    return {name: one for name, one in modules_of(module).items() if isinstance(one, dspy.Predict)}


def rendered_prompts(module: dspy.Module, probes: Sequence[Mapping[str, Any]]) -> dict[str, list[Prompt]]:
    """By predictor, what it sends for each probe (inputs of the module). No model is called.

    The module is called with the probe until it asks a model for the first time: that predictor's prompt is the very
    one it sends, through the module's own adapter. What later predictors are sent hangs on answers; they are called
    alone, with the probe's inputs and, for others, the name of the field in braces, through the configured adapter.
    The module must not be in use meanwhile. Raises InvalidArgument without probes, FailedPrecondition naming the probe
    or the predictor that can't be rendered.
    """
    if not probes:
        raise InvalidArgument("a program is kept with the prompts for its probes; give one or more")
    predictors = predictors_of(module)
    prompts: dict[str, list[Prompt]] = {name: [] for name in predictors}
    with _asking_nobody(predictors.values()):
        for number, probe in enumerate(probes, start=1):
            first = _request(module, probe, f"the program on probe {number}")
            for name, predictor in predictors.items():
                if first is None or first.asker is not predictor:
                    alone = _request(predictor, _alone(predictor, probe), f"predictor {name} on probe {number}")
                    prompts[name].append([] if alone is None else alone.messages)
                else:
                    prompts[name].append(first.messages)
    return prompts


def _visit(path: str, value: Any, found: dict[str, dspy.Module], seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Parameter) and not isinstance(value, dspy.Predict):
        raise InvalidArgument(f"{path} is a {type(value).__name__}: only the state of a dspy.Predict can be kept")
    if isinstance(value, dspy.Module):
        if path in found:
            raise InvalidArgument(f"two modules of the program are called {path}; rename one")
        found[path] = value
    for below, child in _children(path, value):
        _visit(below, child, found, seen)


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Attributes and items, named as DSPy names them."""
    if isinstance(value, dspy.Module):
        own = _PREDICTORS_OWN if isinstance(value, dspy.Predict) else _NO_CHILDREN
        inside = "" if path == ROOT else f"{path}."
        yield from ((f"{inside}{name}", child) for name, child in vars(value).items() if name not in own)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}['{key}']" if isinstance(key, str) else f"{path}[{key!r}]", item
    elif isinstance(value, (list, tuple)):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)) and any(isinstance(item, dspy.Module) for item in value):
        raise InvalidArgument(f"{path} is a set of modules, which has no order; make it a list")


class _Asked(BaseException):  # Only a BaseException is never taken for a failed call and tried again.
    """A model was asked: by whom, and what."""

    def __init__(self, asker: object, messages: Prompt) -> None:
        super().__init__()
        self.asker = asker
        self.messages = messages


class _Nobody(dspy.BaseLM):  # type: ignore[misc]
    """A language model that answers nothing: a request to it becomes _Asked."""

    def __init__(self) -> None:
        super().__init__(model="nobody", cache=False)

    def __call__(self, prompt: str | None = None, *, messages: Prompt | None = None, **_: Any) -> NoReturn:
        askers = dspy.settings.caller_modules or [None]
        raise _Asked(askers[-1], messages or [{"role": "user", "content": prompt}])

    async def acall(self, prompt: str | None = None, *, messages: Prompt | None = None, **_: Any) -> NoReturn:
        self(prompt, messages=messages)


@contextmanager
def _asking_nobody(predictors: Any) -> Iterator[None]:
    """Within it neither a predictor's own model nor the configured one is called, and nothing is noted down."""
    nobody, own = _Nobody(), [(predictor, predictor.lm) for predictor in predictors]
    quiet = {"callbacks": [], "trace": [], "track_usage": False, "caller_modules": [], "send_stream": None}
    try:
        for predictor, _ in own:
            predictor.lm = nobody
        with dspy.context(lm=nobody, warn_on_type_mismatch=False, **quiet):
            yield
    finally:
        for predictor, lm in own:
            predictor.lm = lm


def _request(module: dspy.Module, inputs: Mapping[str, Any], what: str) -> _Asked | None:
    """The first request of a call; None where it ends without one."""
    try:
        module(**inputs)
    except _Asked as asked:
        return asked
    except Exception as exc:
        raise FailedPrecondition(f"{what} fails before it asks a model: {type(exc).__name__}: {exc}") from exc
    return None


def _alone(predictor: dspy.Predict, probe: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs for a predictor that is called alone; defaults are DSPy's to fill in."""
    inputs: dict[str, Any] = {}
    for name, field in predictor.signature.input_fields.items():
        if name in probe:
            inputs[name] = probe[name]
        elif field.is_required() and field.annotation is not dspy.History:
            inputs[name] = f"{{{name}}}"
    return inputs
