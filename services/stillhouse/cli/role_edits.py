"""One role of a config.yaml set: the characters to replace, and the proof that nothing else has changed.

Called by `stillhouse config set-role`. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.cli.role_config import FIELDS, RoleChange, read_roles, roles_of, said, says, scalar
from stillhouse.cli.yaml_nodes import Node, line_end, parse
from stillhouse.errors import FailedPrecondition, InvalidArgument

_INDENT = 2


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


def set_role(text: str, role: str, change: RoleChange) -> str:
    """The text with that role saying `change`; added at the end where it or `roles:` is missing.

    Raises InvalidArgument (the file can't be read, or the provider needs a base_url) and FailedPrecondition (anchors,
    aliases or merge keys make it a change of something else as well, or the layout is one that can't be spliced).
    """
    root = parse(text)
    before = roles_of(root).get(role)
    values = change.values(before.entries if before is not None else {})
    edits = _Edits(text, root).all(role, before, values)
    # From the end, so that places stay right; of two at one place the first one's text comes first.
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end))[::-1]:
        text = text[: edit.start] + edit.text + text[edit.end :]
    _prove(text, root, role, values)
    return text


class _Edits:
    """What to replace in one text."""

    def __init__(self, text: str, root: Node) -> None:
        self._text = text
        self._root = root
        self._break = "\r\n" if "\r\n" in text else "\n"
        self._used = {node.anchor for node in root.walk() if node.kind == "alias"}

    def all(self, role: str, before: Node | None, values: Mapping[str, Any]) -> list[_Edit]:
        present = {field: value for field, value in values.items() if value is not None}
        if self._root.is_null:
            return self._begin({"roles": {role: present}})
        pair = self._root.own("roles")
        if pair is None:
            if "roles" in self._root.entries:
                raise _bound("roles comes from a merge key")
            return [self._insertion(self._root, {"roles": {role: present}})]
        if pair[1].is_null:
            return self._filling(self._root, pair, {role: present})
        roles = self._unshared(pair[1], "roles")
        found = roles.own(role)
        if found is None:
            if before is not None:
                raise _bound(f"roles.{role} comes from a merge key")
            return [self._insertion(roles, {role: present})]
        if found[1].is_null:
            return self._filling(roles, found, present)
        return self._fields(self._unshared(found[1], f"roles.{role}"), role, values)

    def _fields(self, mapping: Node, role: str, values: Mapping[str, Any]) -> list[_Edit]:
        edits, missing = [], {}
        for field, value in values.items():
            pair = mapping.own(field)
            if value is None:
                if pair is not None and not pair[1].is_null:
                    edits.append(self._removal(mapping, pair))
                elif said(mapping.entries, field):
                    raise _bound(f"roles.{role}.{field} comes from a merge key and has to go")
            elif field in mapping.entries and says(mapping.entries[field], value):
                continue
            elif pair is None:
                missing[field] = value
            else:
                edits.append(self._replacement(pair[1], f"roles.{role}.{field}", value))
        return [*edits, self._insertion(mapping, missing)] if missing else edits

    def _replacement(self, node: Node, name: str, value: Any) -> _Edit:
        if node.kind not in ("scalar", "alias"):
            raise InvalidArgument(f"line {node.line}: {name} is no single value")
        self._check_anchors(node)
        quote = node.style if node.style in ("'", '"') else None
        end = line_end(self._text, node.end) if node.style in ("|", ">") else node.end
        return _Edit(node.start, end, (" " if node.start == node.end else "") + scalar(value, quote))

    def _removal(self, mapping: Node, pair: tuple[Node, Node]) -> _Edit:
        key, value = pair
        self._check_anchors(value)
        if not mapping.flow:
            line_start = self._text.rfind("\n", 0, key.start)
            start = line_start - 1 if self._text[:line_start].endswith("\r") else line_start
            end = line_end(self._text, value.end)
            remark = self._text[value.end : end].lstrip()
            return _Edit(start, end, f"{self._break}{' ' * key.column}{remark}" if remark.startswith("#") else "")
        index = mapping.pairs.index(pair)
        if index + 1 < len(mapping.pairs):
            behind = mapping.pairs[index + 1][0].start
            if "#" in self._text[value.end : behind]:
                behind = self._text.index(",", value.end) + 1
            return _Edit(key.start, behind, "")
        before = mapping.pairs[index - 1][1].end if index else key.start
        return _Edit(key.start if "#" in self._text[before : key.start] else before, value.end, "")

    def _insertion(self, mapping: Node, values: Mapping[str, Any]) -> _Edit:
        if not mapping.flow:
            column = mapping.pairs[0][0].column
            end = self._after_comments(line_end(self._text, mapping.end), column)
            return _Edit(end, end, self._lines(values, column))
        text = _flow(values)[1:-1]
        if not mapping.pairs:
            return _Edit(mapping.end - 1, mapping.end - 1, text)
        end = mapping.pairs[-1][1].end
        return _Edit(end, end, f", {text}")

    def _after_comments(self, position: int, column: int) -> int:
        """The end of a line, or of the last comment below it that is indented as deep as that column."""
        comments = re.compile(rf"(?:\r?\n[ \t]*)*\r?\n {{{column},}}#[^\r\n]*")
        while found := comments.match(self._text, position):
            position = found.end()
        return position

    def _filling(self, parent: Node, pair: tuple[Node, Node], values: Mapping[str, Any]) -> list[_Edit]:
        """The values for a key without any."""
        key, value = pair
        self._check_anchors(value)
        if parent.flow:
            return [_Edit(value.start, value.end, ("" if value.value else " ") + _flow(values))]
        start = len(self._text[: value.start].rstrip(" "))
        end = line_end(self._text, value.end)
        lines = self._lines(values, key.column + self._step())
        return [_Edit(start, value.end, ""), _Edit(end, end, lines)]

    def _begin(self, values: Mapping[str, Any]) -> list[_Edit]:
        """The values for a file that says nothing."""
        if self._root.value:
            raise InvalidArgument(f"line {self._root.line}: the top level is no mapping")
        lines = self._lines(values, 0).removeprefix(self._break) + self._break
        end = len(self._text)
        return [_Edit(end, end, lines if self._text.endswith(("\n", "\ufeff")) or not end else self._break + lines)]

    def _lines(self, values: Mapping[str, Any], column: int) -> str:
        """Lines in block style, each after a line break."""
        text = ""
        for name, value in values.items():
            text += f"{self._break}{' ' * column}{scalar(name)}:"
            nested = isinstance(value, Mapping)
            text += self._lines(value, column + self._step()) if nested else f" {scalar(value)}"
        return text

    def _step(self) -> int:
        """The indentation of this file: that of its roles where there are any."""
        roles = self._root.own("roles")
        nodes: list[Node] = [*(roles[1].walk() if roles is not None else ()), *self._root.walk()]
        for node in nodes:
            for _, value in node.pairs:
                if not node.flow and value.kind == "mapping" and not value.flow:
                    return max(1, value.pairs[0][0].column - node.pairs[0][0].column)
        return _INDENT

    def _unshared(self, node: Node, name: str) -> Node:
        if node.kind == "alias" or (node.anchor in self._used and node.anchor is not None):
            raise _bound(f"line {node.line}: {name} is shared by the anchor {node.anchor}")
        return node

    def _check_anchors(self, node: Node) -> None:
        for part in node.walk():
            if part.kind != "alias" and part.anchor is not None and part.anchor in self._used:
                raise _bound(f"line {part.line}: the anchor {part.anchor} is used elsewhere in the file")


def _flow(values: Mapping[str, Any]) -> str:
    parts = (f"{scalar(k)}: {_flow(v) if isinstance(v, Mapping) else scalar(v)}" for k, v in values.items())
    return "{" + ", ".join(parts) + "}"


def _bound(reason: str) -> FailedPrecondition:
    return FailedPrecondition(f"{reason}, so the role can't be set alone; write it out in the file first")


def _prove(text: str, root: Node, role: str, values: Mapping[str, Any]) -> None:
    """Reads the new text: the role says the values, and all the rest says what it said."""
    try:
        after = parse(text)
        spoken = read_roles(text)[role]
        good = all(spoken[field] == value for field, value in values.items()) and _rest(after, role) == _rest(
            root, role
        )
    except (InvalidArgument, KeyError):
        good = False
    if not good:
        raise FailedPrecondition(f"roles.{role} is laid out in a way that can't be changed safely; edit it by hand")


def _rest(root: Node, role: str) -> Any:
    """What a document says but for FIELDS of that role."""
    top, roles = _without(root, "roles")
    others, chosen = _without(roles, role)
    own = tuple((k.meaning, v.meaning) for k, v in (chosen.pairs if chosen else ()) if k.value not in FIELDS)
    return top, others, own


def _without(mapping: Node | None, name: str) -> tuple[Any, Node | None]:
    pairs = mapping.pairs if mapping is not None else ()
    chosen = mapping.own(name) if mapping is not None else None
    return tuple((k.meaning, v.meaning) for k, v in pairs if k.value != name), chosen[1] if chosen else None
