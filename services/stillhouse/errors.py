"""The one error tree of Stillhouse, and what a Job or command exits with for each class.

    StillhouseError
    ├── PermanentError             trying again cannot help                    exit 65
    │   ├── InvalidArgument        an input or option is wrong                 exit 65 (2 at the command line)
    │   ├── NotFound               a named thing does not exist
    │   ├── PermissionDenied       the credential is missing or refused
    │   ├── FailedPrecondition     the state of things forbids it
    │   └── DataLoss               bytes are not what their digest says
    ├── TemporaryError             the same request may succeed later          exit 75
    │   ├── Unavailable            something cannot be reached
    │   ├── ResourceExhausted      memory, disk, slots or quota
    │   └── DeadlineExceeded
    └── Cancelled                  stopped on request, state saved             exit 143

Everyone raises these; `stillhouse.rpc.status` maps them to gRPC. Foreign errors are wrapped at the edge, `from exc`.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_PERMANENT = 65
EXIT_TEMPORARY = 75
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class StillhouseError(Exception):
    """Base of the tree. The message names the thing and the remedy."""

    exit_code = EXIT_PERMANENT

    def __init__(self, message: str, *, field: str | None = None) -> None:
        """`field` names the request field or spec path that is wrong, where there is one."""
        super().__init__(message)
        self.message = message
        self.field = field


class PermanentError(StillhouseError):
    """Trying again cannot help."""


class InvalidArgument(PermanentError):
    """An input or an option is wrong."""


class NotFound(PermanentError):
    """A named thing does not exist."""


class PermissionDenied(PermanentError):
    """The credential is missing or refused."""


class FailedPrecondition(PermanentError):
    """The state of things forbids it."""


class DataLoss(PermanentError):
    """Bytes are not what their digest says."""


class TemporaryError(StillhouseError):
    """The same request may succeed later."""

    exit_code = EXIT_TEMPORARY

    def __init__(self, message: str, *, field: str | None = None, retry_after_seconds: float | None = None) -> None:
        """`retry_after_seconds` is when to try again, where that is known."""
        super().__init__(message, field=field)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TemporaryError):
    """Something cannot be reached."""


class ResourceExhausted(TemporaryError):
    """Memory, disk, slots or quota are used up."""


class DeadlineExceeded(TemporaryError):
    """It took longer than the caller waits."""


class Cancelled(StillhouseError):
    """Stopped on request; what was done is saved and the same request resumes."""

    exit_code = EXIT_TERMINATED
