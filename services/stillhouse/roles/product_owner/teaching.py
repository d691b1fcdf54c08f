"""How a teacher is asked: the prompt with a worked example or for structured output, its schema, its answer's reading.

The role object calls it. A student never sees these texts; its prompt is `prompt`'s, and the inputs look the same in
both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from json import JSONDecoder
from typing import Any, NoReturn

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import prompt, worked_example
from stillhouse.roles.product_owner.adapter import MAX_ANSWER_CHARACTERS
from stillhouse.roles.product_owner.schema import (
    MODELS,
    Review,
    Vision,
    canonical_text,
    read_mapping,
    read_output,
    valid_output,
)
from stillhouse.roles.product_owner.signature import BLOCK_LABELS, INSTRUCTIONS, OUTPUT_NAMES
from stillhouse.roles.role import Message, ParsedAnswer

GUIDANCE = """\
Begin each item of aligned, gaps and conflicts with the id that it is about, and put each requirement into one list.
A gap is a requirement too vague to test, or a promise of the concept that no requirement serves.
A conflict is two requirements that cannot both hold: one item that names both ids and says why.
Write in the language of the concept."""

FENCED_SYSTEM = f"""\
{prompt.SYSTEM}
BOTH blocks are required, VISION and then REVIEW, each closed by its own fence: an answer with one of them is refused.
Put each text into double quotes, on one line.
{GUIDANCE}

An example. For this input:

{prompt.user_text(worked_example.INPUTS)}

the whole answer is:

{worked_example.ANSWER}"""

STRUCTURED_SYSTEM = f"""\
{INSTRUCTIONS} Answer with one JSON object of two members, {OUTPUT_NAMES[0]} and {OUTPUT_NAMES[1]}, and nothing else.
BOTH are required: an answer with one of them is refused.
Use short sentences. Name only requirement ids that are in the requirements.
{GUIDANCE}"""

_SCHEMA_KEYS = ("type", "description", "enum", "required")


def messages(inputs: Mapping[str, str], *, structured: bool) -> list[Message]:
    """System message, and the user message of the student's prompt. Raises InvalidArgument on a missing input."""
    user = prompt.messages(inputs)[-1]
    return [Message("system", STRUCTURED_SYSTEM if structured else FENCED_SYSTEM), user]


def response_schema(outputs: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an object with these outputs, in the role's order, without references and bounds.

    Raises InvalidArgument where none is named, or one that the role does not have.
    """
    unknown = sorted(set(outputs) - set(OUTPUT_NAMES))
    if unknown or not outputs:
        named = ", ".join(unknown) or "none"
        raise InvalidArgument(f"no schema for outputs {named}; there are {', '.join(OUTPUT_NAMES)}", field="outputs")
    wanted = [name for name in OUTPUT_NAMES if name in outputs]
    models = {name: MODELS[name].model_json_schema() for name in wanted}
    properties = {name: _reduced(model, model.get("$defs", {})) for name, model in models.items()}
    return {"type": "object", "properties": properties, "required": wanted}


def parse_structured(answer: str) -> ParsedAnswer:
    """The outputs of a JSON object as canonical text, those that satisfy their models. Never raises.

    Text around the object (a fence, a sentence) is passed over. Of an object that breaks off, the outputs that are
    whole are read. An output may also be the YAML text of its model.
    """
    if not isinstance(answer, str):
        return ParsedAnswer({}, (f"the answer is no text but {type(answer).__name__}",))
    text = answer[:MAX_ANSWER_CHARACTERS]
    problems = []
    if len(answer) > MAX_ANSWER_CHARACTERS:
        problems.append(f"the answer is longer than {MAX_ANSWER_CHARACTERS} characters; the rest was not read")
    values = _object_in(text)
    if values is None:
        problems.append("the answer holds no whole JSON object")
        values = _whole_outputs(text)
    outputs = {}
    for name, label in BLOCK_LABELS.items():
        if name not in values:
            problems.append(f"there is no {label}: the JSON object has no member {name}")
            continue
        output, found = _read_value(name, values[name])
        problems += found
        if output is not None:
            outputs[name] = canonical_text(output)
    return ParsedAnswer(outputs, tuple(problems))


def json_value(name: str, text: str) -> dict[str, Any]:
    """A valid output's text as the JSON value that the schema describes. Raises InvalidArgument on another."""
    return valid_output(name, text).model_dump(mode="json")


def _reduced(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its references resolved and nothing but what Vertex AI's schema object and others all know."""
    reference = schema.get("$ref")
    if reference is not None:
        schema = {**definitions[reference.rsplit("/", 1)[-1]], **schema}
    reduced = {key: schema[key] for key in _SCHEMA_KEYS if key in schema}
    if "properties" in schema:
        reduced["properties"] = {name: _reduced(part, definitions) for name, part in schema["properties"].items()}
    if "items" in schema:
        reduced["items"] = _reduced(schema["items"], definitions)
    return reduced


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


_DECODER = JSONDecoder(strict=False, parse_constant=_refuse)
_MEMBERS = {name: re.compile(r'(?<!\\)"' + name + r'"\s{0,99}:\s{0,99}(?=[{"])') for name in OUTPUT_NAMES}
_FENCED = re.compile(r"(?:^|\n) *```[a-zA-Z]{0,12} *\n")
_MAX_MEMBERS = 8
"""Places where an output of a broken object is looked for; each may cost reading the rest of the answer."""


def _object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that begins at the text's first brace, or after its first fence."""
    starts = [text.find("{")]
    if fence := _FENCED.search(text):
        starts.append(text.find("{", fence.end()))
    for start in dict.fromkeys(starts):
        value = None if start < 0 else _decoded(text, start)
        if isinstance(value, dict):
            return value
    return None


def _whole_outputs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, member in _MEMBERS.items():
        for _, match in zip(range(_MAX_MEMBERS), member.finditer(text), strict=False):
            value = _decoded(text, match.end())
            if value is not None:
                found.setdefault(name, value)
    return found


def _decoded(text: str, start: int) -> Any:
    try:
        return _DECODER.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _read_value(name: str, value: Any) -> tuple[Vision | Review | None, list[str]]:
    if isinstance(value, str):
        return read_output(name, value)
    if not isinstance(value, dict):
        return None, [f"{BLOCK_LABELS[name]} is no object"]
    return read_mapping(name, value)


def as_json(values: Mapping[str, Any]) -> str:
    """Outputs by name as the JSON text of a structured answer."""
    return json.dumps(values, ensure_ascii=False, indent=1)
