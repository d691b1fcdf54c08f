"""YAML as kubectl reads it: what is a number, a truth value or a string there is one here. Called by loading and crd.

PyYAML and kubectl's reader both follow YAML 1.1, and differ: `2e-4`, `0o17` and `y` are strings to PyYAML alone, `1:30`
and `2030-01-31` to kubectl alone. One file is read by both. The rules are those of sigs.k8s.io/yaml's resolve.go.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER = re.compile(
    r"^[-+]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+"
    r"|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9_]+)?|\.[0-9]+([eE][-+]?[0-9]+)?)$"
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"([-+]?)0o?([0-7]+)", re.IGNORECASE)
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_NUMBER_TAG = "tag:yaml.org,2002:number"
_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    """SafeLoader with kubectl's view of plain scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def load_yaml(text: bytes | str) -> Any:
    """The one document of a text. Raises yaml.YAMLError, ValueError or RecursionError where it can't be read."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)


def dump_yaml(document: Any) -> str:
    """A text that kubectl and PyYAML read alike: what one of them would not take for a string is quoted."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes as well what only kubectl misreads; without anchors, which some readers don't know."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _number(_: _Loader, node: yaml.ScalarNode) -> int | float | str:
    plain = node.value.replace("_", "")
    if octal := _OCTAL.fullmatch(plain):
        return int(octal[1] + octal[2], 8)
    if _FLOAT.fullmatch(plain):
        return int(plain) if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", plain) else float(plain)
    try:
        return int(plain, 0)
    except ValueError:
        return str(node.value)


def _truth(_: _Loader, node: yaml.ScalarNode) -> bool:
    return node.value in _TRUE


_WORD = re.compile(rf"^(?:{'|'.join(sorted(_TRUE | _FALSE))})$")
for _reader_or_writer in (_Loader, _Dumper):
    _reader_or_writer.add_implicit_resolver(_NUMBER_TAG, _NUMBER, list("-+.0123456789"))
    _reader_or_writer.add_implicit_resolver("tag:yaml.org,2002:bool", _WORD, list("yYnNtTfFoO"))
_Loader.add_constructor(_NUMBER_TAG, _number)
_Loader.add_constructor("tag:yaml.org,2002:bool", _truth)
