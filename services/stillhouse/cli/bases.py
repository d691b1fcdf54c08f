"""A base model named on the command line, as the base stage's result. Called by train and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stillhouse.controller.requests import is_directory_base
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store

DEFAULT_BASE = "builtin:smollm2-135m-instruct"


def prepare_base(store: Store, base: str, revision: str, *, screen: Console) -> PrepareBaseResult:
    """The base in the store: `builtin:NAME`, a hub name, or a Hugging Face directory of this machine.

    Raises NotFound where a directory is none, and what the stage raises.
    """
    from stillhouse.cli.files import existing_folder
    from stillhouse.cli.jobs import run_stage
    from stillhouse.stages import BASE

    request = PrepareBaseRequest(name=base, revision=revision)
    if _is_directory(base):
        folder = existing_folder(Path(base.removeprefix("file://")).expanduser(), with_file="config.json")
        request = PrepareBaseRequest(directory=store.put_directory(folder))
    return run_stage(store, BASE, request, PrepareBaseResult, screen=screen)


def _is_directory(base: str) -> bool:
    """A path by its look, or by being there; a hub name has one slash and no folder here."""
    return is_directory_base(base) or (not base.startswith("builtin:") and Path(base).is_dir())
