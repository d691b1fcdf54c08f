"""The four forms of a constraint."""

from __future__ import annotations

import json

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.student_inference.constraint import PROBE_ANSWER, grammar, json_schema, regex, role_grammar


def test_a_schema_is_converted_by_the_engine_and_can_be_probed() -> None:
    made = json_schema('{"type": "object", "properties": {"a": {"type": "integer"}}}')
    assert made.is_json
    assert made.grammar
    if made.grammar.startswith("%llguidance"):
        assert f'start: "{PROBE_ANSWER}" %json' in made.probe


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 50_000, "not JSON"),
        ('{"$ref": "https://example.com/schema"}', "leaves the schema"),
        (json.dumps({"description": "x" * 70_000}), "bytes"),
        ('{"type": "string", "pattern": "a(?=b)"}', r"pattern 'a\(\?=b\)': .*look-around"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        json_schema(schema)
    assert caught.value.field == "constraint.json_schema"


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(50):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidArgument, match="nested"):
        json_schema(json.dumps(schema))


def test_a_grammar_keeps_its_text() -> None:
    assert grammar('root ::= "a"').grammar == 'root ::= "a"'


def test_a_regex_that_only_a_grammar_refuses_is_refused_as_a_regex() -> None:
    with pytest.raises(InvalidArgument, match="regex") as caught:
        regex("(a*)*")
    assert caught.value.field == "constraint.regex"


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="unknown role"):
        role_grammar("nobody", {})
