"""The folder of this machine for what can be fetched or made again: base models, the converter.

Called by the services that keep such things, and by `downloads`. It must not know what lies in it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stillhouse.errors import FailedPrecondition, PermissionDenied, ResourceExhausted

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


def cache_directory(environ: Mapping[str, str]) -> Path:
    """$STILLHOUSE_CACHE, else ~/.cache/stillhouse; it need not exist. Raises FailedPrecondition without a home."""
    named = environ.get("STILLHOUSE_CACHE")
    try:
        folder = Path(named).expanduser() if named else Path.home() / ".cache" / "stillhouse"
    except RuntimeError as exc:
        raise FailedPrecondition(f"no place for the cache: {exc} Set STILLHOUSE_CACHE to a writable folder") from exc
    return folder.absolute()


@contextmanager
def cache_errors(directory: Path, *, variable: str = "STILLHOUSE_CACHE") -> Iterator[None]:
    """A refusal of the system while a cache is written, as an error of ours that names it and the remedy, `variable`.

    Raises PermissionDenied where this user may not write there, ResourceExhausted where the disk is full.
    """
    try:
        yield
    except OSError as exc:
        message = f"the cache {directory} can't be written: {exc}"
        if exc.errno in _FULL:
            raise ResourceExhausted(f"{message}; free some space, or set {variable} to another disk") from exc
        # Without a file it is the network that refuses.
        if exc.errno in _REFUSED and exc.filename is not None:
            raise PermissionDenied(f"{message}; set {variable} to a folder that this user may write to") from exc
        raise
