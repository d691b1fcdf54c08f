"""What a model's name on the command line means: an address, a GGUF file, an artifact, or a run's student.

Called by serve-student and chat; it starts servers as subprocesses and knows nothing of gRPC.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stillhouse.errors import InvalidArgument, NotFound, PermanentError, StillhouseError

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RUN_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class ServedModel:
    """A student that is being served."""

    address: str


@dataclass(frozen=True)
class ModelFile:
    """A GGUF file of this machine."""

    path: Path


@dataclass(frozen=True)
class StoredModel:
    """A GGUF artifact of a store."""

    sha256: str
    store_uri: str


@dataclass(frozen=True)
class ServerOptions:
    """How a server is started; None leaves the server's own default."""

    host: str = "127.0.0.1"
    port: int = 0
    parallel: int = 1
    context_tokens: int | None = None
    gpu_layers: int | None = None


def resolve_target(target: str, store: str | None) -> ServedModel | ModelFile | StoredModel:
    """host:port, or what `resolve_model` finds."""
    if _ADDRESS.fullmatch(target) and not Path(target).exists():
        return ServedModel(target)
    return resolve_model(target, store)


def resolve_model(target: str, store: str | None) -> ModelFile | StoredModel:
    """A GGUF file, sha256:HEX of a store, or the student of the run of that name.

    Raises NotFound naming what was looked for, FailedPrecondition for a run without a student yet.
    """
    from stillhouse.cli.store import default_store_uri, open_store

    path = Path(target).expanduser()
    if path.is_file():
        return ModelFile(path)
    if _DIGEST.fullmatch(target):
        return StoredModel(target.removeprefix("sha256:"), store or default_store_uri())
    if path.suffix == ".gguf" or "/" in target:
        raise NotFound(f"no such file: {target}")
    if not _RUN_NAME.fullmatch(target):
        raise InvalidArgument(f"{target!r} is no host:port, GGUF file, sha256:HEX or run's name")
    from stillhouse.controller.runs import find_run, model_of

    opened = open_store(store)
    return StoredModel(model_of(opened, find_run(opened, target)).sha256, opened.uri)


def server_arguments(model: ModelFile | StoredModel, options: ServerOptions) -> list[str]:
    """Arguments of a Python interpreter that serves the model."""
    if isinstance(model, StoredModel):
        named = ["--model", f"sha256:{model.sha256}", "--store", model.store_uri]
    else:
        named = ["--model", str(model.path)]
    flags = ["--host", options.host, "--port", str(options.port), "--parallel", str(options.parallel)]
    if options.context_tokens is not None:
        flags += ["--context", str(options.context_tokens)]
    if options.gpu_layers is not None:
        flags += ["--gpu-layers", str(options.gpu_layers)]
    return ["-m", "stillhouse.student_inference", "serve", *named, *flags]


@contextmanager
def local_server(model: ModelFile | StoredModel, options: ServerOptions) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server of that model on a free port, ended with the block.

    Yields its address and a function that raises PermanentError, with the server's last words, once it has ended.
    """
    from stillhouse.rpc.subprocesses import end_process, free_port, start_python

    options = replace(options, port=options.port or free_port())
    with tempfile.TemporaryFile() as log:
        process = start_python(server_arguments(model, options), output=log)

        def check() -> None:
            if process.poll() is not None:
                log.seek(0)
                raise _ended(process.returncode, log.read().decode(errors="replace"))

        try:
            yield f"{options.host}:{options.port}", check
        finally:
            end_process(process, _STOP_SECONDS)


def _ended(exit_code: int, log: str) -> StillhouseError:
    words = log.strip().splitlines()[-1:] or ["it said nothing"]
    return PermanentError(f"the student server ended with {exit_code}: {words[0]}")
