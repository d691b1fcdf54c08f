"""`stillhouse chat`: ask a student the role's question, or anything, and see at once what the answer is worth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.choices import chosen_role

if TYPE_CHECKING:
    from stillhouse.cli.models import ModelFile, ServedModel, StoredModel
    from stillhouse.client.student import StudentClient

_SERVED_WAIT_SECONDS = 5.0
_LOAD_WAIT_SECONDS = 300.0


def chat(
    target: Annotated[str, typer.Argument(metavar="RUN|HOST:PORT|MODEL.gguf", help="Whom to talk to.")],
    role: Annotated[str, typer.Option(help="The role whose inputs are asked for.")] = "product_owner",
    free: Annotated[bool, typer.Option("--free", help="Ordinary chat instead of the role's inputs.")] = False,
    grammar: Annotated[str, typer.Option(help="role: answers are held to the role's grammar; or none.")] = "role",
    max_tokens: Annotated[int, typer.Option(min=1, max=32_768)] = 1024,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    context: Annotated[int, typer.Option(min=256, help="Tokens of a server that is started.")] = 4096,
    store: Annotated[str | None, typer.Option(help="Object store of the run.")] = None,
    token: Annotated[str | None, typer.Option(envvar="STILLHOUSE_TOKEN", help="Bearer token of the server.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the authority, for TLS.")] = None,
) -> None:
    """Talks to a student; reads a terminal or a pipe. Starts a server where none runs."""
    from stillhouse.cli.conversation import ChatOptions, free_chat, role_chat
    from stillhouse.cli.models import resolve_target
    from stillhouse.cli.prompting import Prompter

    chosen = chosen_role(role)
    if grammar not in ("role", "none"):
        raise typer.BadParameter(f"{grammar!r} is neither role nor none", param_hint="--grammar")
    options = ChatOptions(use_grammar=grammar == "role", max_tokens=max_tokens, temperature=temperature, seed=seed)
    prompter = Prompter(sys.stdin, sys.stderr)
    found = resolve_target(target, store)
    with _reached(found, context_tokens=context, token=token, ca=ca) as client:
        if free:
            free_chat(client, options, prompter)
        else:
            role_chat(client, chosen, options, prompter)


@contextmanager
def _reached(
    found: ServedModel | ModelFile | StoredModel, *, context_tokens: int, token: str | None, ca: Path | None
) -> Iterator[StudentClient]:
    """A client of the student, whose server is started where it is a model."""
    from stillhouse.cli.models import ServedModel, ServerOptions, local_server
    from stillhouse.client.student import StudentClient
    from stillhouse.evaluator.connection import wait_until_ready

    if isinstance(found, ServedModel):
        with StudentClient(found.address, token=token, ca=ca) as client:
            wait_until_ready(client, wait_seconds=_SERVED_WAIT_SECONDS)
            yield client
        return
    options = ServerOptions(context_tokens=context_tokens)
    with local_server(found, options) as (address, check), StudentClient(address) as client:
        wait_until_ready(client, wait_seconds=_LOAD_WAIT_SECONDS, check=check)
        yield client
