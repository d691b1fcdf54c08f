"""A metric of the user's own, named `module:function`: found, called and held to its promise.

Used by whatever scores (stages, scorer, command line). It imports the named module, so who serves strangers must refuse
the name first.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from math import isfinite
from typing import NoReturn

from stillhouse.errors import InvalidArgument, PermissionDenied
from stillhouse.roles.role import MetricScore

ALLOW_VARIABLE = "STILLHOUSE_ALLOW_CUSTOM_METRIC"

Metric = Callable[[Mapping[str, str], Mapping[str, str]], MetricScore]
"""(inputs, outputs) to a score; as `Role.score` is."""


def load_metric(reference: str) -> Metric:
    """The metric named `module:function`; the function takes (inputs, outputs) and returns a float or a MetricScore.

    Raises InvalidArgument where there is no such module or function; the metric itself raises InvalidArgument where the
    function fails or returns no score within [0, 1].
    """
    check_reference(reference)
    module_name, _, name = reference.partition(":")
    try:
        module = import_module(module_name)
    except Exception as exc:  # whatever a module of the user's own raises while it is imported
        raise InvalidArgument(
            f"metric {reference!r}: module {module_name!r} can't be imported ({type(exc).__name__}: {exc});"
            " is its folder on PYTHONPATH?",
            field="metric",
        ) from exc
    function = getattr(module, name, None)
    if not callable(function):
        raise InvalidArgument(f"metric {reference!r}: module {module_name!r} has no function {name!r}", field="metric")
    return _checked(reference, function)


def check_reference(reference: str) -> None:
    """Raises InvalidArgument where it is not of the form `module:function`; nothing is imported."""
    module_name, separator, name = reference.partition(":")
    if not separator or not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise InvalidArgument(f"metric {reference!r} is not of the form module:function", field="metric")


def metric_digest(reference: str) -> str:
    """16 digits of the SHA-256 of the module that holds the metric: another one where it was edited.

    Raises InvalidArgument where there is no such module, or it has no source.
    """
    name = reference.partition(":")[0]
    try:
        source = inspect.getsource(import_module(name))
    except (ImportError, OSError, TypeError) as exc:
        raise InvalidArgument(f"metric {reference!r}: the source of {name!r} can't be read", field="metric") from exc
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _checked(reference: str, function: Callable[[Mapping[str, str], Mapping[str, str]], object]) -> Metric:
    def metric(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> MetricScore:
        try:
            result = function(dict(inputs), dict(outputs))
        except Exception as exc:  # whatever a function of the user's own raises
            raise InvalidArgument(f"metric {reference!r} failed: {type(exc).__name__}: {exc}", field="metric") from exc
        return _score_of(reference, result)

    return metric


def _score_of(reference: str, result: object) -> MetricScore:
    found = result.score if isinstance(result, MetricScore) else result
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not isfinite(found) or not 0 <= found <= 1:
        raise InvalidArgument(
            f"metric {reference!r} returned {str(result)[:60]!r}; it must return a number within 0 and 1,"
            " or a MetricScore with one",
            field="metric",
        )
    return result if isinstance(result, MetricScore) else MetricScore(float(found), {})


def custom_metrics_allowed(environ: Mapping[str, str]) -> bool:
    """Whether a server's requests may name a metric: STILLHOUSE_ALLOW_CUSTOM_METRIC is 1. Raises InvalidArgument."""
    value = environ.get(ALLOW_VARIABLE, "0")
    if value not in ("", "0", "1"):
        raise InvalidArgument(f"{ALLOW_VARIABLE}={value!r} is neither 0 nor 1")
    return value == "1"


def refuse_custom_metric(reference: str) -> NoReturn:
    """Raises PermissionDenied for a request that names a metric where the server does not allow it."""
    raise PermissionDenied(
        f"metric {reference!r}: this server runs no metric of a request's own;"
        f" set {ALLOW_VARIABLE}=1 there if its clients are trusted",
        field="metric",
    )
