"""A YAML text as nodes that know their place in it, so that a part can be replaced and every other byte kept.

Called by role_config. A round trip through a YAML library keeps comments but not indentation, quotes, line breaks and
markers, so texts are spliced, never dumped. Knows nothing of roles, reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import yaml

from stillhouse.errors import InvalidArgument

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE = "<<"


@dataclass(frozen=True, eq=False)
class Node:
    """A scalar, mapping, sequence or alias; `start` and `end` are characters of the text, its anchor and tag included.

    The end of a collection in block style is that of its last value: what follows (comments, blank lines) is nobody's.
    """

    kind: Literal["scalar", "mapping", "sequence", "alias"]
    start: int
    end: int
    line: int
    column: int
    anchor: str | None = None
    tag: str | None = None
    value: str = ""
    style: str | None = None
    """Of a scalar: its quote, `|` or `>`; None where it is plain."""
    flow: bool = False
    pairs: tuple[tuple[Node, Node], ...] = ()
    items: tuple[Node, ...] = ()
    target: Node | None = None
    """Of an alias: the node that it stands for; `anchor` is then the name it uses."""

    @property
    def is_null(self) -> bool:
        """Whether it is an empty value or a written null."""
        return self.kind == "scalar" and self.style is None and self.value in _NULLS

    def own(self, key: str) -> tuple[Node, Node] | None:
        """Key and value as this mapping itself has them, aliases as they stand."""
        return next((pair for pair in self.pairs if pair[0].kind == "scalar" and pair[0].value == key), None)

    @cached_property
    def entries(self) -> dict[str, Node]:
        """What a reader finds in this mapping: aliases followed, merge keys applied, own keys first."""
        mine = {key.value: value.followed for key, value in self.pairs if key.kind == "scalar" and not _merges(key)}
        for key, value in self.pairs:
            if _merges(key):
                sources = value.followed.items or (value,)
                for source in sources:
                    mine = {**source.followed.entries, **mine}
        return mine

    @property
    def followed(self) -> Node:
        """Itself, or what the alias stands for."""
        return self if self.target is None else self.target.followed

    @cached_property
    def meaning(self) -> Any:
        """All of it but its place, to compare two texts by."""
        inner = tuple((key.meaning, value.meaning) for key, value in self.pairs), tuple(i.meaning for i in self.items)
        return self.kind, self.anchor, self.tag, self.value, self.style, self.flow, inner

    def walk(self) -> Iterator[Node]:
        """Itself and everything written within it."""
        yield self
        for child in (*(node for pair in self.pairs for node in pair), *self.items):
            yield from child.walk()


def parse(text: str) -> Node:
    """The one document of a text; a null without a place to speak of where there is none.

    Raises InvalidArgument naming the line: no YAML, several documents, an alias without an anchor.
    """
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
        marks: list[Any] = [event.start_mark for event in events if isinstance(event, yaml.DocumentStartEvent)]
        if len(marks) > 1:
            line = marks[1].line + 1
            raise InvalidArgument(f"line {line} begins a second document; one is needed")
        content = [event for event in events if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent)]
        return _Builder(content).node() if content else Node("scalar", len(text), len(text), 1, 0)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidArgument(f"{place}no YAML: {exc.problem or exc.context}") from exc
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise InvalidArgument(f"line {line}: no YAML: the character U+{ord(text[exc.position]):04X}") from exc
    except RecursionError as exc:
        raise InvalidArgument("no YAML that can be read: it is nested too deep") from exc


def refuse_duplicates(mapping: Node) -> None:
    """Raises InvalidArgument naming the line where the mapping has a key a second time."""
    seen: dict[str, int] = {}
    for key, _ in mapping.pairs:
        if key.kind == "scalar" and key.value in seen and not _merges(key):
            raise InvalidArgument(
                f"line {key.line}: the key {key.value} stands on line {seen[key.value]} already; keep one of them"
            )
        seen[key.value] = key.line


def line_end(text: str, position: int) -> int:
    """Where the line of that position ends, before its line break; a block scalar ends at the start of a line."""
    if position and text[position - 1] == "\n":
        position -= 1
    elif (found := re.compile(r"\r?\n").search(text, position)) is not None:
        return found.start()
    else:
        return len(text)
    return position - 1 if position and text[position - 1] == "\r" else position


def _merges(key: Node) -> bool:
    return key.value == _MERGE and key.style is None


class _Builder:
    """Nodes from the parser's events."""

    def __init__(self, events: list[Any]) -> None:
        self._events = iter(events)
        self._anchors: dict[str, Node] = {}
        self._next: Any = next(self._events)

    def node(self) -> Node:
        event = self._take()
        line, column = event.start_mark.line + 1, event.start_mark.column
        start, end = event.start_mark.index, event.end_mark.index
        place = (start, end, line, column, event.anchor)
        match event:
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise InvalidArgument(f"line {line}: *{event.anchor} names no anchor that ends before it")
                return Node("alias", *place, target=self._anchors[event.anchor])
            case yaml.ScalarEvent():
                node = Node("scalar", *place, event.tag, event.value, None if event.style == "" else event.style)
            case _:
                node = self._collection(event, place)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _collection(self, event: Any, place: tuple[int, int, int, int, str | None]) -> Node:
        children: list[Node] = []
        while not isinstance(self._next, yaml.CollectionEndEvent):
            children.append(self.node())
        closing = self._take()
        end = children[-1].end if children and not event.flow_style else closing.end_mark.index
        placed = (place[0], end, *place[2:], event.tag)
        if isinstance(event, yaml.MappingStartEvent):
            pairs = tuple(zip(children[::2], children[1::2], strict=True))
            return Node("mapping", *placed, flow=bool(event.flow_style), pairs=pairs)
        return Node("sequence", *placed, flow=bool(event.flow_style), items=tuple(children))

    def _take(self) -> Any:
        event, self._next = self._next, next(self._events, None)
        return event
