"""`stillhouse serve-student`: a GGUF file or artifact served over gRPC, in this process' place."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def serve_student(
    model: Annotated[str, typer.Argument(metavar="MODEL.gguf", help="A GGUF file, or a run's name.")],
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback the server wants TLS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 50051,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Requests answered at the same time.")] = 1,
    context: Annotated[int, typer.Option(min=256, help="Tokens a request, prompt and answer.")] = 4096,
    gpu_layers: Annotated[int | None, typer.Option(min=-1, help="Layers on the GPU; default: all.")] = None,
    store: Annotated[str | None, typer.Option(help="Object store of the run.")] = None,
) -> None:
    """Serves a student until interrupted. SERVING only when it answers."""
    from stillhouse.cli.models import ServerOptions, resolve_model, server_arguments

    options = ServerOptions(host=host, port=port, parallel=parallel, context_tokens=context, gpu_layers=gpu_layers)
    arguments = server_arguments(resolve_model(model, store), options)
    sys.stdout.flush()
    sys.stderr.flush()
    # The server takes this process' place: signals, exit code and terminal are its own.
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
