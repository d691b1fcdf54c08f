from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stillhouse.errors import FailedPrecondition
from stillhouse.exporter.modelfile import Render, read_pieces, write_modelfile
from stillhouse.roles.role import Message

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set loop_messages = messages[1:] %}"
    "{%- else %}{%- set loop_messages = messages %}{%- endif %}"
    "{%- for message in loop_messages %}{%- if message['role'] == 'user' %}{{- '[INST] ' }}"
    "{%- if loop.first and system is defined %}{{- system + '\n\n' }}{%- endif %}{{- message['content'] + '[/INST]' }}"
    "{%- else %}{{- ' ' + message['content'] + '</s>' }}{%- endif %}{%- endfor %}"
)
QUOTES = (
    "{% for message in messages %}"
    "{{ '\"{{' + message['role'] + '}}\"\t\\\\ \U0001f642 ' + message['content'] + '\"\"\"' }}"
    "{% endfor %}{{ '>' }}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endfor %}<assistant>"
)
REVERSED = "{% for message in messages | reverse %}{{ message['role'] + message['content'] }}{% endfor %}"

SYSTEM, USER, ANSWER = Message("system", "Be {{ exact }}."), Message("user", 'Say "hi"\n'), Message("assistant", "hi")
CONVERSATIONS = [[SYSTEM, USER], [USER], [SYSTEM, USER, ANSWER, USER], [USER, ANSWER, USER, ANSWER, USER]]


def _renderer(template: str) -> Render:
    def fail(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = fail
    compiled = environment.from_string(template)

    def render(messages: Sequence[Message]) -> str:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        return compiled.render(messages=chat, add_generation_prompt=True)

    return render


def render_go_template(template: str, messages: Sequence[Message]) -> str:
    """Go's text/template as far as ours uses it: range, if eq, else, end, strings, $m.Role, $m.Content."""
    actions = re.findall(r'\{\{ ((?:"(?:[^"\\]|\\.)*"|[^"}])*) \}\}', template)
    assert "".join(f"{{{{ {action} }}}}" for action in actions) == template, "text outside of actions"
    return _block(iter(actions), messages, None)[0]


def _block(actions: Iterator[str], messages: Sequence[Message], current: int | None) -> tuple[str, str]:
    """What the actions up to their `end` or `else` print, and which of the two came ("" at the end of all)."""
    output = ""
    for action in actions:
        if action in ("end", "else"):
            return output, action
        if action == "range $i, $m := .Messages":
            body = list(actions)
            printed = [_block(iter(body), messages, index)[0] for index in range(len(messages))]
            rest = iter(body)
            _block(rest, messages, 0)
            output += "".join(printed) + _block(rest, messages, None)[0]
            return output, ""
        if action.startswith("if eq "):
            then, stopped_at = _block(actions, messages, current)
            otherwise = _block(actions, messages, current)[0] if stopped_at == "else" else ""
            output += then if _holds(action, messages, current) else otherwise
        else:
            output += _message(messages, current).content if action == "$m.Content" else json.loads(action)
    return output, ""


def _holds(action: str, messages: Sequence[Message], current: int | None) -> bool:
    return action in (f'if eq $m.Role "{_message(messages, current).role}"', f"if eq $i {current}")


def _message(messages: Sequence[Message], current: int | None) -> Message:
    assert current is not None, "$m outside of range"
    return messages[current]


@pytest.mark.parametrize("template", [SMOLLM2, MISTRAL, QUOTES], ids=["smollm2", "mistral", "quotes"])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=["system", "plain", "turns", "plain-turns"])
def test_the_go_template_renders_what_the_chat_template_renders(template: str, conversation: list[Message]) -> None:
    render = _renderer(template)
    pieces = read_pieces(render, [SYSTEM, USER])
    assert render_go_template(pieces.go_template(), conversation) == render(conversation)
    assert pieces.render(conversation) == render(conversation)


def test_a_template_without_system_messages_has_no_branch_for_them() -> None:
    render = _renderer(NO_SYSTEM)
    pieces = read_pieces(render, [USER])
    assert "system" not in pieces.go_template()
    assert render_go_template(pieces.go_template(), [USER, ANSWER, USER]) == render([USER, ANSWER, USER])


def test_a_template_that_reorders_messages_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="chat template"):
        read_pieces(_renderer(REVERSED), [SYSTEM, USER])


def test_the_template_is_one_line_without_triple_quotes() -> None:
    template = read_pieces(_renderer(QUOTES), [SYSTEM, USER]).go_template()
    assert '"""' not in template
    assert "\n" not in template


def test_the_modelfile_names_file_template_system_and_stop() -> None:
    pieces = read_pieces(_renderer(SMOLLM2), [SYSTEM, USER])
    text = write_modelfile(pieces, model_file="m.Q8_0.gguf", stop="<|im_end|>", context_tokens=8192, system="Be exact.")
    assert text.splitlines() == [
        "FROM ./m.Q8_0.gguf",
        f'TEMPLATE """{pieces.go_template()}"""',
        'SYSTEM """Be exact."""',
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER temperature 0",
        "PARAMETER num_ctx 8192",
    ]
