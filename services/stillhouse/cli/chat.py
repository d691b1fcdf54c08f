"""`stillhouse chat`: ask a student the role's question, or anything, and see at once what the answer is worth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.choices import chosen_role
from stillhouse.cli.cluster import ClusterOption, ContextOption, NamespaceOption, chosen_cluster

if TYPE_CHECKING:
    from stillhouse.cli.conversation import ChatOptions
    from stillhouse.cli.models import ModelFile, ServedModel, StoredModel
    from stillhouse.client.student import StudentClient

_ROLE = "product_owner"
_SERVED_WAIT_SECONDS = 5.0
_LOAD_WAIT_SECONDS = 300.0


def chat(
    target: Annotated[str, typer.Argument(metavar="RUN|HOST:PORT|MODEL.gguf", help="Whom to talk to.")],
    role: Annotated[
        str | None, typer.Option(help=f"The role whose inputs are asked for; default: {_ROLE}, or the Distillation's.")
    ] = None,
    free: Annotated[bool, typer.Option("--free", help="Ordinary chat instead of the role's inputs.")] = False,
    grammar: Annotated[str, typer.Option(help="role: answers are held to the role's grammar; or none.")] = "role",
    max_tokens: Annotated[int, typer.Option(min=1, max=32_768)] = 1024,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    context_tokens: Annotated[
        int, typer.Option("--context-tokens", min=256, help="Of a server that is started.")
    ] = 4096,
    store: Annotated[str | None, typer.Option(help="Object store of the run.")] = None,
    token: Annotated[str | None, typer.Option(envvar="STILLHOUSE_TOKEN", help="Bearer token of the server.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the authority, for TLS.")] = None,
    cluster: ClusterOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """Talks to a student; reads a terminal or a pipe. Starts a server where none runs."""
    from stillhouse.cli.conversation import ChatOptions
    from stillhouse.cli.models import ServedModel, resolve_target

    if role is not None:
        chosen_role(role)
    if grammar not in ("role", "none"):
        raise typer.BadParameter(f"{grammar!r} is neither role nor none", param_hint="--grammar")
    options = ChatOptions(use_grammar=grammar == "role", max_tokens=max_tokens, temperature=temperature, seed=seed)
    if (chosen := chosen_cluster(cluster, namespace, context, idle_store=store)) is not None:
        from stillhouse.cli.cluster_artifacts import forwarded_student

        with forwarded_student(chosen, target) as student:
            served = _reached(ServedModel(student.address), context_tokens=0, token=token, ca=ca)
            _talk(served, None if free else role or student.role, options)
        return
    reached = _reached(resolve_target(target, store), context_tokens=context_tokens, token=token, ca=ca)
    _talk(reached, None if free else role or _ROLE, options)


def _talk(reached: AbstractContextManager[StudentClient], role: str | None, options: ChatOptions) -> None:
    """About a role's inputs, or about anything where there is no role."""
    from stillhouse.cli.conversation import free_chat, role_chat
    from stillhouse.cli.prompting import Prompter

    prompter = Prompter(sys.stdin, sys.stderr)
    with reached as client:
        if role is None:
            free_chat(client, options, prompter)
        else:
            role_chat(client, chosen_role(role), options, prompter)


@contextmanager
def _reached(
    found: ServedModel | ModelFile | StoredModel, *, context_tokens: int, token: str | None, ca: Path | None
) -> Iterator[StudentClient]:
    """A client of the student, whose server is started where it is a model."""
    from stillhouse.cli.models import ServedModel, ServerOptions, local_server
    from stillhouse.client.student import StudentClient
    from stillhouse.client.waiting import wait_until_ready

    if isinstance(found, ServedModel):
        with StudentClient(found.address, token=token, ca=ca) as client:
            wait_until_ready(client, wait_seconds=_SERVED_WAIT_SECONDS)
            yield client
        return
    options = ServerOptions(context_tokens=context_tokens)
    with local_server(found, options) as (address, check), StudentClient(address) as client:
        wait_until_ready(client, wait_seconds=_LOAD_WAIT_SECONDS, check=check)
        yield client
