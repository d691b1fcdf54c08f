"""Replaces a file that belongs to other software: whole or not at all, with what it held kept beside it.

Called by `stillhouse config`. Symbolic links are followed, permissions kept. Backups are FILE.backup-1, FILE.backup-2,
...: none is overwritten, the highest number is the newest.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from stillhouse.cli.files import read_file
from stillhouse.dataset.lines import unwritable
from stillhouse.errors import FailedPrecondition, NotFound, PermissionDenied

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""Of file systems without hard links: FAT, many network and cloud drives."""


def replace_file(path: Path, content: bytes) -> Path:
    """Gives the file that content and returns the backup of what it held. Raises as read_file and `unwritable` do."""
    path = path.resolve()
    written = _written(path, content)
    try:
        backup = _keep(path)
        written.replace(path)
    except OSError as exc:
        raise unwritable(path, exc) from exc
    finally:
        written.unlink(missing_ok=True)
    return backup


def restore(path: Path) -> Path:
    """The file and its newest backup change places; returns that backup.

    Raises FailedPrecondition where there is no backup, else as replace_file does.
    """
    read_file(path)
    path = path.resolve()
    numbers = _numbers(path)
    if not numbers:
        raise FailedPrecondition(f"{path} has no backup beside it ({path.name}.backup-N): nothing to roll back")
    newest = _backup(path, max(numbers))
    # Whenever this is stopped, what the file held is in the newest backup or still in the file.
    kept = _keep(path)
    try:
        shutil.copymode(path, newest)
        newest.replace(path)
        kept.replace(newest)
    except OSError as exc:
        raise unwritable(path, exc) from exc
    return newest


def restore_from(path: Path, number: int) -> Path | None:
    """Gives the file what that backup holds; the backup stays, and the one of what the file held is returned.

    None where the file holds the same already. Raises NotFound, naming those that there are, for a number without a
    backup, else as replace_file does.
    """
    before = read_file(path)
    backup = _backup(path.resolve(), number)
    if number not in _numbers(path.resolve()):
        known = ", ".join(each.name for each in backups_of(path)) or "none"
        raise NotFound(f"there is no {backup.name} beside {path}; backups there: {known}")
    content = read_file(backup)
    return None if content == before else replace_file(path, content)


def backups_of(path: Path) -> list[Path]:
    """The backups of a file, the oldest first. Raises PermissionDenied where its folder can't be listed."""
    path = path.resolve()
    return [_backup(path, number) for number in sorted(_numbers(path))]


def _keep(path: Path) -> Path:
    """A copy of the file under the next free number, on the disk when this returns."""
    content = read_file(path)
    number = max(_numbers(path), default=0)
    written = _written(path, content)
    try:
        while True:
            number += 1
            with suppress(FileExistsError):
                _add(written, _backup(path, number), content)
                return _backup(path, number)
    except OSError as exc:
        raise unwritable(_backup(path, number), exc) from exc
    finally:
        written.unlink(missing_ok=True)


def _add(written: Path, backup: Path, content: bytes) -> None:
    """A link, unlike a rename, never takes the place of another's backup. Raises OSError."""
    try:
        os.link(written, backup)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        with backup.open("xb") as stream:
            shutil.copymode(written, backup)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())


def _written(path: Path, content: bytes) -> Path:
    """A temporary file beside `path` with its permissions and, where that is allowed, its owner."""
    temporary = None
    try:
        with NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        status = path.stat()
        with suppress(PermissionError):
            os.chown(temporary, status.st_uid, status.st_gid)
        shutil.copymode(path, temporary)
    except OSError as exc:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise unwritable(path, exc) from exc
    return temporary


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.backup-{number}")


def _numbers(path: Path) -> list[int]:
    name = re.compile(rf"{re.escape(path.name)}\.backup-([0-9]{{1,9}})")
    try:
        return [int(found[1]) for entry in path.parent.iterdir() if (found := name.fullmatch(entry.name))]
    except OSError as exc:
        raise PermissionDenied(
            f"{path.parent} can't be listed: {exc.strerror or exc}; backups of {path.name} lie there"
        ) from exc
