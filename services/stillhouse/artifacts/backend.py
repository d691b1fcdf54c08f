"""Opens the object store behind a URI and turns its errors into ours. Called by the store, and for inputs.

It must not know blobs, manifests or messages: here are only paths and bytes.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore import exceptions
from obstore.store import LocalStore, MemoryStore, from_url

from stillhouse.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)

REMOTE_SCHEMES = ("s3", "gs", "az")

_memory_stores: dict[str, MemoryStore] = {}
_memory_lock = threading.Lock()

_OS_ERROR = re.compile(r"\(os error (\d+)\)|\bcode: (\d+)")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})
_BUSY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def normalise_uri(uri: str) -> str:
    """`uri` in its one spelling: file:///absolute/path, memory://name, s3://bucket/prefix, gs://..., az://...

    A bare path is a file's. Raises InvalidArgument for an empty URI or a scheme that is not known.
    """
    if not uri:
        raise InvalidArgument("the store URI is empty; name a directory or an s3://, gs:// or az:// URI", field="store")
    if "://" not in uri:
        return "file://" + str(Path(uri).expanduser().absolute())
    if uri.startswith("file://"):
        # What follows is the path as it is, without escapes: a path and its URI say the same.
        path = uri.removeprefix("file://").removeprefix("localhost")
        if not path.startswith("/"):
            raise InvalidArgument(f"{uri}: a file URI has three slashes: file:///absolute/path", field="store")
        return "file://" + os.path.normpath(path)
    parts = urlsplit(uri)
    if parts.scheme == "memory" or parts.scheme in REMOTE_SCHEMES:
        if parts.scheme != "memory" and not parts.netloc:
            raise InvalidArgument(f"{uri} names no bucket", field="store")
        if parts.username or parts.password or parts.query:
            raise InvalidArgument(
                f"{parts.scheme}:// URIs carry neither credentials nor options; put them into the environment",
                field="store",
            )
        return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    raise InvalidArgument(
        f"{uri}: store scheme {parts.scheme!r} is not known; use file, s3, gs, az or memory", field="store"
    )


def open_remote(uri: str) -> Any:
    """The obstore object for a normalised URI; None for a file store, which opens on first use (see `open_files`).

    Endpoint, region and credentials are the environment's (AWS_*, GOOGLE_*, AZURE_*). Raises InvalidArgument.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return None
    if scheme == "memory":
        with _memory_lock:
            return _memory_stores.setdefault(rest, MemoryStore())
    options: dict[str, Any] = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "24h"}
    if scheme == "s3" and os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["allow_http"] = True
    with translated(uri, "open"):
        return from_url(
            uri,
            client_options=options,
            retry_config={
                "max_retries": int(os.environ.get("STILLHOUSE_STORE_RETRIES", "6")),
                "retry_timeout": timedelta(seconds=60),
            },
        )


def open_files(root: Path, *, write: bool) -> LocalStore | None:
    """The store below `root`; None if it does not exist yet and nothing is to be written. Made on the first write.

    A write is tried before the first one: the library would otherwise loop for ever where a directory exists but takes
    no files (/proc). Raises PermissionDenied or ResourceExhausted.
    """
    if not write:
        if not root.is_dir():
            return None
    else:
        with translated(str(root), "write to"):
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
    with translated(str(root), "open"):
        return LocalStore(str(root))


@contextmanager
def translated(place: str, action: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raises what obstore and the operating system raise as an error of ours that names `place` and `action`.

    `passing` are the exceptions that are an answer to the caller and pass as they are.
    """
    try:
        yield
    except (exceptions.BaseError, OSError, ValueError) as exc:
        if isinstance(exc, passing):
            raise
        raise error_of(exc, place, action) from exc


def error_of(exc: BaseException, place: str, action: str) -> StillhouseError:
    """The error of ours for one of obstore's or the system's; its message is one line, without a debug dump."""
    reason = str(exc).split("\n\nDebug source", 1)[0].strip().replace("\n", " ")[:500]
    number = _error_number(exc)
    if number in _FULL:
        return ResourceExhausted(f"can't {action} {place}: {reason}; the disk is full, free some space and try again")
    if number in _REFUSED or (number == errno.ENOENT and action.startswith("write")):
        return PermissionDenied(f"can't {action} {place}: {reason}; name a place that this user may write to")
    if number in _BUSY:
        return ResourceExhausted(f"can't {action} {place}: {reason}")
    if isinstance(exc, FileNotFoundError):
        return NotFound(f"{place} does not exist")
    if isinstance(exc, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return PermissionDenied(f"can't {action} {place}: {reason}; check the store's credentials and their rights")
    if isinstance(exc, exceptions.UnknownConfigurationKeyError | exceptions.InvalidPathError | ValueError):
        return InvalidArgument(f"can't {action} {place}: {reason}")
    if isinstance(exc, exceptions.NotSupportedError):
        return FailedPrecondition(f"can't {action} {place}: {reason}; the store lacks conditional writes")
    return Unavailable(f"can't {action} {place}: {reason}; check the address and the network, then try again")


def _error_number(exc: BaseException) -> int | None:
    if isinstance(exc, OSError) and exc.errno is not None:
        return exc.errno
    found = _OS_ERROR.search(str(exc))
    return int(found.group(1) or found.group(2)) if found else None
