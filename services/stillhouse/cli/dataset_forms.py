"""Forms in which a data set leaves for other tools. Called by `stillhouse dataset export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stillhouse.dataset.lines import json_line
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.roles.role import Role


def chat_line(record: DataRecord, role: Role) -> str:
    """`{"messages": [...]}` with the role's prompt and the answer as a student is trained to write it."""
    messages = [{"role": message.role, "content": message.content} for message in role.messages(record.inputs)]
    messages.append({"role": "assistant", "content": role.answer_text(record.outputs)})
    return json_line({"messages": messages}, sort_keys=False)


def flat_line(record: DataRecord, role: Role) -> str:
    """Inputs, outputs, score and labels side by side, as an import has them."""
    del role
    return json_line({**record.labels, **record.inputs, **record.outputs, "score": record.score}, sort_keys=False)


def record_line(record: DataRecord, role: Role) -> str:
    """As trainer and evaluator read it."""
    del role
    return write_record(record)


FORMS: Mapping[str, Callable[[DataRecord, Role], str]] = {"chat": chat_line, "flat": flat_line, "record": record_line}
