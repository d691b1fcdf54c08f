"""Decides whether llama.cpp can be given a grammar: everything defined, no left recursion, bounded branching.

Called by `constraint` for every grammar, whoever wrote it, because one that branches without bound stops the loop that
all slots share. What is bounded is the branching at each place in a rule; a grammar whose ambiguity grows with the
answer can still be slow, so a server that takes grammars belongs behind a token. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.gbnf import Characters, Choice, Node, Reference, Repetition, Sequence, parse_grammar

MAX_BRANCHES = 10_000
"""Ways in which the next character may be matched. 30,000 options at one place cost llama.cpp 0.7 s a token."""
MAX_RULE_CHAIN = 200
"""Rules that may begin with one another without a character between: they are followed recursively."""


@dataclass(frozen=True)
class _Reach:
    """`empty`: ways to match the empty text; `starts`: places the first character may be matched at. Both capped."""

    empty: int
    starts: int


_CHARACTER = _Reach(0, 1)


def check_grammar(text: str) -> frozenset[Characters]:
    """The distinct character sets of the grammar, for a model's alphabet to be checked against.

    Raises InvalidArgument (field `constraint.grammar`) that says what is wrong with the grammar.
    """
    try:
        return _checked(parse_grammar(text))
    except RecursionError:
        # llama.cpp follows it as deep, and would overflow its stack.
        raise _refused("its rules, brackets and repetitions are nested too deep") from None


def _checked(rules: Mapping[str, Node]) -> frozenset[Characters]:
    if "root" not in rules:
        raise _refused("it has no rule named root")
    for name, body in rules.items():
        for node in _nodes(body):
            if isinstance(node, Reference) and node.name not in rules:
                raise _refused(f"the rule {name!r} uses {node.name!r}, which is not defined")
    counter = _Counter(rules)
    for name, body in rules.items():
        counter.rule(name)
        for node in _nodes(body):
            if isinstance(node, Sequence):
                counter.suffixes(node, name)
    return frozenset(node for body in rules.values() for node in _nodes(body) if isinstance(node, Characters))


def _refused(what: str) -> InvalidArgument:
    return InvalidArgument(f"the grammar cannot be used: {what}", field="constraint.grammar")


def _nodes(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    children: tuple[Node, ...] = ()
    if isinstance(node, Sequence):
        children = node.items
    elif isinstance(node, Choice):
        children = node.options
    elif isinstance(node, Repetition):
        children = (node.item,)
    for child in children:
        yield from _nodes(child)


class _Counter:
    """Counts branches, each rule once."""

    def __init__(self, rules: Mapping[str, Node]) -> None:
        self._rules = rules
        self._done: dict[str, _Reach] = {}
        self._open: list[str] = []

    def rule(self, name: str) -> _Reach:
        if name in self._done:
            return self._done[name]
        if name in self._open:
            raise _refused(f"the rule {name!r} begins with itself (left recursion); write the repetition with *")
        if len(self._open) >= MAX_RULE_CHAIN:
            raise _refused(f"more than {MAX_RULE_CHAIN} rules begin with one another at {name!r}")
        self._open.append(name)
        self._done[name] = self.reach(self._rules[name], name)
        self._open.pop()
        return self._done[name]

    def suffixes(self, node: Sequence, rule: str) -> None:
        """Counts what may follow each item of a sequence, as `reach` does for the whole."""
        following = _Reach(1, 0)
        for item in reversed(node.items):
            reached = self.reach(item, rule)
            following = _Reach(reached.empty * following.empty, reached.starts + reached.empty * following.starts)
            self._bounded(following, rule)

    def reach(self, node: Node, rule: str) -> _Reach:
        if isinstance(node, Reference):
            found = self.rule(node.name)
        elif isinstance(node, Sequence):
            found = self._sequence(node, rule)
        elif isinstance(node, Choice):
            options = [self.reach(option, rule) for option in node.options]
            found = _Reach(sum(option.empty for option in options), sum(option.starts for option in options))
        elif isinstance(node, Repetition):
            found = self._repetition(node, rule)
        else:
            found = _CHARACTER
        return self._bounded(found, rule)

    def _bounded(self, found: _Reach, rule: str) -> _Reach:
        if max(found.empty, found.starts) > MAX_BRANCHES:
            raise _refused(f"the rule {rule!r} can be matched in more than {MAX_BRANCHES} ways at one place")
        return found

    def _sequence(self, node: Sequence, rule: str) -> _Reach:
        empty, starts = 1, 0
        for item in node.items:
            reached = self.reach(item, rule)
            starts += empty * reached.starts
            empty *= reached.empty
            if empty == 0 or empty > MAX_BRANCHES:
                break
        return _Reach(empty, starts)

    def _repetition(self, node: Repetition, rule: str) -> _Reach:
        item = self.reach(node.item, rule)
        if item.empty == 0:
            return _Reach(1 if node.low == 0 else 0, item.starts if node.high != 0 else 0)
        if node.high is None:
            raise _refused(f"the rule {rule!r} repeats without end something that can be empty")
        ways = _sum_of_powers(item.empty, node.low, node.high)
        return _Reach(ways, item.starts * _sum_of_powers(item.empty, 0, node.high - 1))


def _sum_of_powers(base: int, first: int, last: int) -> int:
    """base**first + ... + base**last, for a base above 0; only known to be too large where it exceeds MAX_BRANCHES."""
    if base == 1:
        return last - first + 1
    enough = MAX_BRANCHES.bit_length()
    return sum(base**power for power in range(min(first, enough), min(last, enough) + 1))
