"""A Modelfile for Ollama whose Go template renders the training prompt byte for byte.

Called by `export`. The template is read off the base's own chat template by rendering marked conversations, so that no
list of known templates is needed; it is then checked against that chat template on the role's own prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stillhouse.errors import FailedPrecondition
from stillhouse.roles.role import Message

Render = Callable[[Sequence[Message]], str]
"""Messages to prompt text, generation prompt included, without a prefix that the tokenizer adds itself."""

SYSTEM, QUESTION, ANSWER, NEXT = (
    "STILLHOUSEsystemMARK",
    "STILLHOUSEuserMARK",
    "STILLHOUSEansMARK",
    "STILLHOUSEnextMARK",
)


@dataclass(frozen=True)
class ChatPieces:
    """The literal text between the messages of a conversation: [system] user (assistant user)*."""

    before_first_user: str
    """Where no system message is given; holds the template's default system prompt if it has one."""
    before_system: str | None
    """None where the template refuses system messages."""
    after_system: str
    before_answer: str
    after_answer: str
    generation: str

    def render(self, messages: Sequence[Message]) -> str:
        """What the Go template renders, in Python."""
        parts: list[str] = []
        for index, message in enumerate(messages):
            if message.role == "system":
                parts += [self.before_system or "", message.content, self.after_system]
            elif message.role == "assistant":
                parts += [self.before_answer, message.content, self.after_answer]
            else:
                parts += [self.before_first_user if index == 0 else "", message.content]
        return "".join([*parts, self.generation])

    def go_template(self) -> str:
        """The same as a Go template over Ollama's `.Messages`, in one line; every literal is a quoted Go string."""
        system = (
            ""
            if self.before_system is None
            else f'{{{{ if eq $m.Role "system" }}}}{_literal(self.before_system)}{{{{ $m.Content }}}}'
            f"{_literal(self.after_system)}{{{{ else }}}}"
        )
        return (
            "{{ range $i, $m := .Messages }}"
            + system
            + f'{{{{ if eq $m.Role "assistant" }}}}{_literal(self.before_answer)}{{{{ $m.Content }}}}'
            + f"{_literal(self.after_answer)}{{{{ else }}}}"
            + f"{{{{ if eq $i 0 }}}}{_literal(self.before_first_user)}{{{{ end }}}}{{{{ $m.Content }}}}{{{{ end }}}}"
            + ("{{ end }}" if system else "")
            + "{{ end }}"
            + _literal(self.generation)
        )


def read_pieces(render: Render, prompt: Sequence[Message]) -> ChatPieces:
    """Reads the pieces off a chat template and checks them on `prompt`, the role's own.

    Raises FailedPrecondition where the template is no plain sequence of messages, so that Ollama could not render the
    training prompt.
    """
    question = Message("user", QUESTION)
    before_first_user, generation = _around(render([question]), QUESTION)
    turns = _optional(render, [question, Message("assistant", ANSWER), Message("user", NEXT)])
    before_answer, after_answer = "", ""
    if turns is not None and ANSWER in turns and NEXT in turns:
        before_answer = turns.partition(QUESTION)[2].partition(ANSWER)[0]
        after_answer = turns.partition(ANSWER)[2].partition(NEXT)[0]
    instructed = _optional(render, [Message("system", SYSTEM), question])
    before_system, after_system = None, ""
    if instructed is not None and SYSTEM in instructed:
        before_system, _, rest = instructed.partition(SYSTEM)
        after_system = rest.partition(QUESTION)[0]
    pieces = ChatPieces(before_first_user, before_system, after_system, before_answer, after_answer, generation)
    if pieces.render(prompt) != render(prompt):
        raise FailedPrecondition(
            "the base's chat template changes its messages or their order, so no Ollama template renders the training "
            "prompt; use a base with a plain chat template"
        )
    return pieces


def write_modelfile(pieces: ChatPieces, *, model_file: str, stop: str, context_tokens: int, system: str = "") -> str:
    """The Modelfile's text. `system` is the role's constant system message, for people who chat without one."""
    lines = [f"FROM ./{model_file}", f'TEMPLATE """{pieces.go_template()}"""']
    if system and '"""' not in system:
        lines.append(f'SYSTEM """{system}"""')
    if stop:
        lines.append(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}")
    lines += ["PARAMETER temperature 0", f"PARAMETER num_ctx {context_tokens}"]
    return "\n".join(lines) + "\n"


def _optional(render: Render, messages: Sequence[Message]) -> str | None:
    """None where the template refuses such a conversation, whichever way it says so."""
    try:
        return render(messages)
    except Exception:  # templates raise what they like
        return None


def _around(text: str, marker: str) -> tuple[str, str]:
    before, found, after = text.partition(marker)
    if not found or marker in after:
        raise FailedPrecondition("the base's chat template does not show a user's message once; use another base")
    return before, after


def _literal(text: str) -> str:
    """A Go action that prints `text`: JSON's escapes of quotes and control characters are Go's too."""
    if not text:
        return ""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"
