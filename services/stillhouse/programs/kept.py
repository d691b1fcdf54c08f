"""Programs by path or by digest, and as what a request names of the store. Called by stages, commands and clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stillhouse.artifacts.store import Store
from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.programs.document import program_bytes, read_program
from stillhouse.programs.folder import PROGRAM_FILE, read_folder
from stillhouse.programs.guidance import check_rendering, guidance_of
from stillhouse.programs.program import Program
from stillhouse.roles.role import Guidance, Role
from stillhouse.v1.artifact_pb2 import Artifact

_DIGEST = "sha256:"


@dataclass(frozen=True)
class NamedProgram:
    """A program, and the artifact by whose digest requests and evaluations name it."""

    program: Program
    artifact: Artifact


def kept_guidance(store: Store, program: Artifact, role: Role) -> Guidance:
    """The guidance of a program in the store, once it renders what it was kept with.

    Raises NotFound, DataLoss and InvalidArgument where it can't be read, FailedPrecondition where it is another role's.
    """
    return checked_guidance(read_program(store.read_bytes(program), source=f"program {program.sha256[:12]}"), role)


def checked_guidance(program: Program, role: Role) -> Guidance:
    """The program's guidance. Raises FailedPrecondition where it is another role's, or renders otherwise by now."""
    check_rendering(program, role)
    return guidance_of(program, role)


def is_digest(reference: str | Path) -> bool:
    """Whether a program is named by its digest in a store, and not by a path."""
    return str(reference).startswith(_DIGEST)


def load_program(reference: str | Path, store: Store | None = None) -> Program:
    """The program at a path (its folder or program.json), or `sha256:HEX` in the store.

    Raises what reading either does; InvalidArgument for a digest without a store.
    """
    if not is_digest(reference):
        return read_folder(Path(reference))[0]
    if store is None:
        raise InvalidArgument(f"program {reference}: a digest needs the store that holds it", field="program")
    digest = str(reference).removeprefix(_DIGEST)
    if not store.has_blob(digest):
        raise NotFound(f"no program {reference} in {store.uri}", field="program")
    return read_program(store.read_bytes(Artifact(name=PROGRAM_FILE, sha256=digest)), source=f"program {digest[:12]}")


def keep_program(reference: str | Path, store: Store) -> NamedProgram:
    """Puts the program at a path into the store, or finds it there by its digest. Raises as `load_program`."""
    program = load_program(reference, store)
    kept = store.put_bytes(program_bytes(program), name=PROGRAM_FILE, media_type="application/json")
    return NamedProgram(program, kept)
