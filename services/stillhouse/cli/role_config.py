"""The `roles:` section of other software's config.yaml: what it says, and a text in which it says something else.

Called by `stillhouse config`. Pure: text in, text out; every byte outside the values of that one role is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from stillhouse.cli.yaml_nodes import Node, parse, refuse_duplicates
from stillhouse.errors import InvalidArgument

FIELDS = ("provider", "model", "temperature", "max_tokens", "base_url")

_HOST_AND_PORT = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./@+-]|:(?=[A-Za-z0-9/]))*")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)(\.[0-9]*)?")
"""Numbers that all readers take for the same one: 010 is 8 to some."""
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class Provider(StrEnum):
    """Who answers for a role."""

    OLLAMA = "ollama"
    GRPC = "grpc"
    OPENAI = "openai"
    VERTEX = "vertex"


_BASE_URLS = {Provider.OLLAMA: "http://localhost:11434", Provider.GRPC: "localhost:50051"}


@dataclass(frozen=True)
class RoleChange:
    """What a role is to say; None leaves what it says, or says nothing."""

    provider: Provider
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    base_url: str | None = None

    def values(self, before: Mapping[str, Node]) -> dict[str, Any]:
        """Values by field for a role that says `before`; None where the field has to go.

        A base_url outlives a change of the model only: it is its provider's. Vertex AI has none unless it is given.
        Raises InvalidArgument: the provider needs a base_url.
        """
        chosen = {"provider": str(self.provider), "model": self.model}
        options = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        values = chosen | {name: value for name, value in options.items() if value is not None}
        kept = "provider" in before and before["provider"].value == self.provider and said(before, "base_url")
        if self.base_url is not None or self.provider is Provider.VERTEX:
            return values | {"base_url": self.base_url}
        if kept:
            return values
        if self.provider not in _BASE_URLS:
            raise InvalidArgument(
                "openai needs one: that of the student's HTTP listener, http://HOST:PORT/v1. `python -m "
                "stillhouse.student_inference serve --model MODEL.gguf --http-port PORT` opens it; its key is "
                "STILLHOUSE_HTTP_KEY, which the client sends as its API key",
                field="base_url",
            )
        return values | {"base_url": _BASE_URLS[self.provider]}


def check_model(model: str) -> None:
    """Raises InvalidArgument: no name of a model."""
    if not model or model != model.strip() or not model.isprintable():
        raise InvalidArgument(f"{model!r} is no name of a model", field="model")


def check_base_url(provider: Provider, base_url: str) -> None:
    """Raises InvalidArgument: not HOST:PORT for grpc, not http(s)://HOST for the others."""
    if provider is Provider.GRPC:
        found = _HOST_AND_PORT.fullmatch(base_url)
        if found is None or not 1 <= int(found[1]) <= 65_535:
            raise InvalidArgument(f"{base_url!r}: grpc takes HOST:PORT, such as localhost:50051", field="base_url")
        return
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not base_url.isprintable() or " " in base_url:
        raise InvalidArgument(
            f"{base_url!r}: {provider} takes http://HOST:PORT or https://HOST, with a path where there is one",
            field="base_url",
        )


def read_roles(text: str) -> dict[str, dict[str, Any]]:
    """What each role says of FIELDS, in the order of the file, aliases and merge keys followed; None: nothing.

    Raises InvalidArgument naming the line: no YAML, a duplicate key, `roles` or a role that is no mapping.
    """
    roles = roles_of(parse(text))
    return {name: {field: _typed(role.entries.get(field)) for field in FIELDS} for name, role in roles.items()}


def roles_of(root: Node) -> dict[str, Node]:
    """The roles of a document by name, each a mapping or null. Raises as read_roles does."""
    if root.is_null:
        return {}
    _check_mapping(root, "the top level")
    roles = root.entries.get("roles")
    if roles is None or roles.is_null:
        return {}
    _check_mapping(roles, "roles")
    for name, role in roles.entries.items():
        if not role.is_null:
            _check_mapping(role, f"roles.{name}")
    return roles.entries


def said(entries: Mapping[str, Node], field: str) -> bool:
    """Whether a role says something of that field: a null is nothing."""
    return field in entries and not entries[field].is_null


def masked(base_url: Any) -> Any:
    """An address without its credentials and its query, which may hold a key."""
    if not isinstance(base_url, str):
        return base_url
    return re.sub(r"\?.*", "?***", re.sub(r"^(\w+://|//)?[^/]*@", r"\1***@", base_url))


def scalar(value: Any, quote: str | None = None) -> str:
    """The value as YAML that readers of 1.1 and 1.2 take alike, in block and flow; strings in `quote` where given."""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if quote == "'":
        return "'" + text.replace("'", "''") + "'"
    if quote is None and _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def says(node: Node, value: Any) -> bool:
    """Whether a node says that value already."""
    own_tag = node.tag is not None and not node.tag.startswith("tag:yaml.org,")
    return not own_tag and bool(_typed(node) == value)


def _typed(node: Node | None) -> Any:
    if node is None or node.kind != "scalar" or node.is_null:
        return None
    if node.style is None and (number := _NUMBER.fullmatch(node.value)):
        return float(node.value) if number[1] else int(node.value)
    return node.value


def _check_mapping(node: Node, name: str) -> None:
    if node.kind != "mapping":
        raise InvalidArgument(f"line {node.line}: {name} is no mapping")
    refuse_duplicates(node)
