"""A conversation with a student: the role's inputs asked for, the answer streamed, its worth shown. Called by chat."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from stillhouse.cli.prompting import Prompter, use_line_editing
from stillhouse.client.student import GenerationOptions, Prompt, RolePrompt, StudentAnswer, StudentClient
from stillhouse.errors import InvalidArgument, ResourceExhausted, StillhouseError
from stillhouse.roles.role import Message, Role
from stillhouse.roles.scoring import score_record


@dataclass(frozen=True)
class ChatOptions:
    """How answers are drawn."""

    use_grammar: bool
    max_tokens: int
    temperature: float
    seed: int


def role_chat(client: StudentClient, role: Role, options: ChatOptions, prompter: Prompter) -> None:
    """Asks for the role's inputs and answers them, until the input ends.

    Raises InvalidArgument where a pipe ends before all required inputs are there, and what the student raises.
    """
    use_line_editing()
    prompter.say(f"{role.name} at {client.address}; an empty {role.group_field} takes an example, Ctrl-D ends")
    seed = options.seed
    while (inputs := _read_inputs(role, prompter, seed)) is not None:
        seed += 1
        prompt = RolePrompt(role.name, inputs)
        generation = _generation(options, prompt if options.use_grammar else None)
        try:
            answer, seconds = _stream(client, prompt, generation)
        except (InvalidArgument, ResourceExhausted) as exc:
            _go_on_or_raise(exc, prompter)
            continue
        print(_verdict(role, inputs, answer, seconds), file=sys.stderr, flush=True)


def free_chat(client: StudentClient, options: ChatOptions, prompter: Prompter) -> None:
    """Ordinary chat with its history, until the input ends. Raises what the student raises."""
    use_line_editing()
    prompter.say(f"chat with {client.address}; /new forgets, Ctrl-D ends")
    history: list[Message] = []
    while (said := prompter.line("you")) is not None:
        if not said or said == "/new":
            history = [] if said else history
            continue
        asked = [*history, Message("user", said)]
        try:
            answer, seconds = _stream(client, asked, _generation(options, None))
        except (InvalidArgument, ResourceExhausted) as exc:
            _go_on_or_raise(exc, prompter)
            continue
        history = [*asked, Message("assistant", answer.text)]
        print(_speed(answer, seconds), file=sys.stderr, flush=True)


def _read_inputs(role: Role, prompter: Prompter, seed: int) -> Mapping[str, str] | None:
    """The required inputs; the one that groups records is a line, the others are texts of several. None at the end."""
    required = [name for name in role.input_fields if name not in role.optional_inputs]
    first = [name for name in required if name == role.group_field]
    inputs: dict[str, str] = {}
    for name in [*first, *(name for name in required if name not in first)]:
        if name == role.group_field:
            line = prompter.line(name)
            if line is None:
                return None
            if not line:
                return _example(role, prompter, seed)
            inputs[name] = line
        else:
            inputs[name] = prompter.text(name)
            if not inputs[name].strip():
                _refuse_blank(name, prompter)
                return _read_inputs(role, prompter, seed)
    return inputs


def _example(role: Role, prompter: Prompter, seed: int) -> Mapping[str, str]:
    example = next(iter(role.examples(count=1, seed=seed)))
    for name, text in example.inputs.items():
        prompter.say(f"{name}: {text}")
    return {name: text for name, text in example.inputs.items() if text.strip()}


def _refuse_blank(name: str, prompter: Prompter) -> None:
    if not prompter.is_interactive:
        raise InvalidArgument(f"the input ended before {name}; give it after an empty line", field=name)
    prompter.say(f"{name} is needed")


def _go_on_or_raise(error: StillhouseError, prompter: Prompter) -> None:
    """A person may ask differently; a pipe ends with the error."""
    if not prompter.is_interactive:
        raise error
    prompter.say(f"error: {error.message}")


def _generation(options: ChatOptions, grammar: RolePrompt | None) -> GenerationOptions:
    return GenerationOptions(
        temperature=options.temperature, max_tokens=options.max_tokens, seed=options.seed, role_grammar=grammar
    )


def _stream(
    client: StudentClient, prompt: Prompt | Sequence[Message], generation: GenerationOptions
) -> tuple[StudentAnswer, float]:
    """Prints the pieces on stdout as they come."""
    started = time.monotonic()
    pieces: Iterator[str | StudentAnswer] = client.stream(prompt, generation)
    answer: StudentAnswer | None = None
    with closing(pieces):  # type: ignore[type-var]
        for piece in pieces:
            if isinstance(piece, StudentAnswer):
                answer = piece
            else:
                print(piece, end="", flush=True)
    print(flush=True)
    if answer is None:
        raise StillhouseError(f"{client.address} ended its answer without saying so; try again")
    return answer, time.monotonic() - started


def _verdict(role: Role, inputs: Mapping[str, str], answer: StudentAnswer, seconds: float) -> str:
    verdict = score_record(role, inputs, response=answer.text)
    lines = [f"score {verdict.score:.3f}, {'valid' if verdict.valid else 'NOT VALID'}, {_speed(answer, seconds)}"]
    lines += [f"  problem: {problem}" for problem in verdict.problems]
    lines += [f"  guard {finding.guard}: {finding.reason}" for finding in verdict.guards]
    return "\n".join(lines)


def _speed(answer: StudentAnswer, seconds: float) -> str:
    cut = ", cut at its token limit" if answer.finish_reason == "length" else ""
    return f"{answer.completion_tokens} tokens in {seconds:.1f} s{cut}"
