"""The second request to a teacher whose answer lacks an output or has a broken one: keeps the valid, asks for the rest.

The role object calls it; `replying` reads its heading and forms back. Whether an output is valid the models say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stillhouse.roles.product_owner import teaching
from stillhouse.roles.product_owner.prompt import fenced
from stillhouse.roles.product_owner.schema import STATUSES, read_output
from stillhouse.roles.product_owner.signature import ALIGNMENT_KEYS, BLOCK_LABELS, OUTPUT_KEYS, OUTPUT_NAMES
from stillhouse.roles.role import Message, ParsedAnswer, Repair

HEADING = "COMPLETE YOUR ANSWER"
MAX_BROKEN_CHARACTERS = 2_000
"""So much of a broken answer is shown again: enough to mend, too little to pay twice for a long one."""
_MAX_PROBLEMS = 5
_MAX_PROBLEM_CHARACTERS = 200


def repair(inputs: Mapping[str, str], answer: ParsedAnswer, *, structured: bool) -> Repair:
    """The request that completes an answer; of a valid one it wants nothing and is the first prompt again.

    Raises InvalidArgument if a required input is missing.
    """
    first = teaching.messages(inputs, structured=structured)
    broken = {name: found for name in OUTPUT_NAMES if (found := _problems(answer, name))}
    kept = {name: answer.outputs[name] for name in OUTPUT_NAMES if name not in broken}
    if not broken:
        return Repair(tuple(first), kept, ())
    request = _request(broken, kept, structured=structured)
    given = _kept_text(kept, structured=structured) if kept else fenced(answer.outputs)[:MAX_BROKEN_CHARACTERS]
    if given:
        turns = [*first, Message("assistant", given), Message("user", request)]
    else:
        # There is nothing to put into an assistant's turn, and two turns of a user are refused by some models.
        turns = [*first[:-1], Message("user", f"{first[-1].content}\n\n{request}")]
    return Repair(tuple(turns), kept, tuple(broken))


def _problems(answer: ParsedAnswer, name: str) -> list[str]:
    text = answer.outputs.get(name)
    label = BLOCK_LABELS[name]
    if text is None:
        # What a structured answer has of a broken output is in the reader's words only.
        return [problem for problem in answer.problems if problem.startswith((f"{label}.", f"{label} "))] or [
            f"{label} is missing"
        ]
    return read_output(name, text)[1]


def _kept_text(kept: Mapping[str, str], *, structured: bool) -> str:
    if not structured:
        return fenced(kept)
    return teaching.as_json({name: teaching.json_value(name, text) for name, text in kept.items()})


def _request(broken: Mapping[str, Sequence[str]], kept: Mapping[str, str], *, structured: bool) -> str:
    problems = [problem for found in broken.values() for problem in found[:_MAX_PROBLEMS]]
    lines = [HEADING, *(f"- {' '.join(problem.split())[:_MAX_PROBLEM_CHARACTERS]}" for problem in problems)]
    lines += [f"{BLOCK_LABELS[name]} is good and stays as it is: do not repeat it." for name in kept]
    if structured:
        lines.append(f"Answer with one JSON object that has {' and '.join(broken)}, complete, and nothing else.")
    else:
        labels = " and ".join(BLOCK_LABELS[name] for name in broken)
        lines.append(f"Write only {labels}, complete and closed by its fence, and nothing else:")
        lines += [f"```yaml {BLOCK_LABELS[name]}\n{_keys(name)}\n```" for name in broken]
    return "\n".join(lines)


def _keys(name: str) -> str:
    parts = {"status": ", ".join(STATUSES), "requirements_alignment": ", ".join(ALIGNMENT_KEYS)}
    return ", ".join(f"{key} ({parts[key]})" if key in parts else key for key in OUTPUT_KEYS[name])
