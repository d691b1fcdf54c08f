"""What a program's name on the command line means: a path, a digest of a store, or the run that made it.

Called by `program show` and `diff`, and by `status` for what a run has made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store
    from stillhouse.controller.runs import Run
    from stillhouse.programs.program import Program
    from stillhouse.v1.optimizer_pb2 import OptimizeResult


def named_program(reference: str, store: str | None) -> tuple[Program, dict[str, Any]]:
    """The program and its metadata: at a path, `sha256:HEX` of the store (without metadata), or what that run made.

    A path that is there goes first. Raises NotFound naming what was looked for, FailedPrecondition for a run that has
    made no program, and what reading one raises.
    """
    from stillhouse.cli.store import open_store
    from stillhouse.programs.folder import PROGRAM_FILE, read_folder
    from stillhouse.programs.kept import is_digest, load_program

    path = Path(reference)
    if path.exists():
        return read_folder(path)
    if is_digest(reference):
        return load_program(reference, open_store(store)), {}
    if path.name != reference or path.suffix == Path(PROGRAM_FILE).suffix:
        return read_folder(path)  # says what is missing
    return _program_of_run(reference, open_store(store))


def optimized_in(store: Store, run: Run) -> OptimizeResult | None:
    """What the run's optimisation made; None where it has none, or has not come so far."""
    from stillhouse.artifacts.messages import unpack_as
    from stillhouse.stages import OPTIMIZE
    from stillhouse.v1.optimizer_pb2 import OptimizeResult

    for step in run.steps:
        if step["stage"] == OPTIMIZE.name and step["key"]:
            manifest = store.read_manifest(step["stage"], step["key"])
            return None if manifest is None else unpack_as(manifest.result, OptimizeResult)
    return None


def _program_of_run(name: str, store: Store) -> tuple[Program, dict[str, Any]]:
    from stillhouse.controller.runs import find_run
    from stillhouse.programs.document import read_program

    try:
        run = find_run(store, name)
    except NotFound as exc:
        raise NotFound(f"there is no folder {name} here, and {exc.message}") from exc
    made = optimized_in(store, run)
    if made is None:
        raise FailedPrecondition(
            f"run {name} has made no program: it optimises no prompt, or has not yet; `stillhouse status {name}` tells"
        )
    program = read_program(store.read_bytes(made.program), source=f"the program of run {name}")
    return program, json.loads(store.read_bytes(made.metadata))
