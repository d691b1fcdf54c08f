"""Errors as google.rpc.Status and back, and as exit codes. Called by servers, clients and Jobs.

It must not know where an error came from. A class of the error tree that is not in the table fails a test.
"""

from __future__ import annotations

import errno
import math
import re

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from stillhouse import errors

DOMAIN = "stillhouse.dev"

CODES: dict[type[errors.StillhouseError], int] = {
    errors.StillhouseError: code_pb2.UNKNOWN,
    errors.PermanentError: code_pb2.FAILED_PRECONDITION,
    errors.InvalidArgument: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
    errors.FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    errors.DataLoss: code_pb2.DATA_LOSS,
    errors.TemporaryError: code_pb2.UNAVAILABLE,
    errors.Unavailable: code_pb2.UNAVAILABLE,
    errors.ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    errors.Cancelled: code_pb2.CANCELLED,
}

# What a code means that came without our ErrorInfo: from gRPC itself, a proxy, or another server.
_CLASSES: dict[int, type[errors.StillhouseError]] = {
    code_pb2.CANCELLED: errors.Cancelled,
    code_pb2.INVALID_ARGUMENT: errors.InvalidArgument,
    code_pb2.OUT_OF_RANGE: errors.InvalidArgument,
    code_pb2.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    code_pb2.NOT_FOUND: errors.NotFound,
    code_pb2.ALREADY_EXISTS: errors.FailedPrecondition,
    code_pb2.FAILED_PRECONDITION: errors.FailedPrecondition,
    code_pb2.UNIMPLEMENTED: errors.FailedPrecondition,
    code_pb2.PERMISSION_DENIED: errors.PermissionDenied,
    code_pb2.UNAUTHENTICATED: errors.PermissionDenied,
    code_pb2.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    code_pb2.ABORTED: errors.Unavailable,
    code_pb2.UNAVAILABLE: errors.Unavailable,
    code_pb2.DATA_LOSS: errors.DataLoss,
}

# Trailing metadata is limited to 8 KiB by default; a message that fills it is lost altogether.
_MESSAGE_CHARACTERS = 2000


def status_of(error: BaseException | None, *, characters: int = _MESSAGE_CHARACTERS) -> Status:
    """The status of an error, or OK for None: code, message, ErrorInfo, and BadRequest or RetryInfo where they apply.

    Texts are cut to `characters`. What is not of our tree is INTERNAL and keeps its text to itself; the log has it.
    """
    if error is None:
        return Status(code=code_pb2.OK)
    known = classified(error)
    if known is None:
        internal = f"internal error ({type(error).__name__}); the log of the process has the traceback"
        return _status(code_pb2.INTERNAL, internal, [_info(type(error).__name__)])
    message = _cut(known.message, characters)
    details: list[Message] = [_info(type(known).__name__)]
    if known.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=known.field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(known, errors.TemporaryError) and known.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(known.retry_after_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return _status(code_for(type(known)), message, details)


def code_for(error_class: type[errors.StillhouseError]) -> int:
    """The google.rpc.Code of an error class, or of the nearest class above it that has one."""
    return next(CODES[ancestor] for ancestor in error_class.__mro__ if ancestor in CODES)


def classified(error: BaseException) -> errors.StillhouseError | None:
    """`error` in our tree: itself, or what memory and disks that are full raise; None for what nobody expected."""
    if isinstance(error, errors.StillhouseError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return errors.ResourceExhausted(
            f"out of memory: {str(error) or type(error).__name__}; use less or a larger machine"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.ResourceExhausted(f"disk full: {error}; free some space and try again")
    return None


def exit_code_of(error: BaseException) -> int:
    """What a process exits with for `error`; 65 for what nobody expected."""
    known = classified(error)
    return known.exit_code if known is not None else errors.EXIT_PERMANENT


def error_of_status(status: Status, *, source: str) -> errors.StillhouseError:
    """The error that a status tells of, in our tree; `source` goes before messages that are not ours."""
    reason, field, retry_after = "", None, None
    for packed in status.details:
        for detail in _unpacked(packed):
            if isinstance(detail, error_details_pb2.ErrorInfo) and detail.domain == DOMAIN:
                reason = detail.reason
            elif isinstance(detail, error_details_pb2.BadRequest) and detail.field_violations:
                field = detail.field_violations[0].field
            elif isinstance(detail, error_details_pb2.RetryInfo):
                retry_after = detail.retry_delay.ToMilliseconds() / 1000
    named = next((known for known in CODES if _reason(known.__name__) == reason), None)
    error_class = named or _CLASSES.get(status.code, errors.PermanentError)
    message = status.message if reason else f"{source}: {status.message or code_pb2.Code.Name(status.code)}"
    if issubclass(error_class, errors.TemporaryError):
        return error_class(message, field=field, retry_after_seconds=retry_after)
    return error_class(message, field=field)


def error_from_rpc(rpc_error: grpc.RpcError, *, address: str) -> errors.StillhouseError:
    """The error that a failed call tells of, in our tree. `address` is who was called, for the message."""
    status = rpc_status.from_call(rpc_error) if isinstance(rpc_error, grpc.Call) else None
    if status is not None:
        return error_of_status(status, source=address)
    if not isinstance(rpc_error, grpc.Call):
        return errors.Unavailable(f"{address}: {rpc_error}")
    code, text = rpc_error.code(), rpc_error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE:
        return errors.Unavailable(f"can't reach {address}: {text}; is it running, and are TLS and address right?")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(f"{address} did not answer in time; allow more seconds or look at its log")
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return errors.PermissionDenied(f"{address}: {text or 'the token is missing or wrong'}")
    return error_of_status(Status(code=code.value[0], message=text), source=address)


def _status(code: int, message: str, details: list[Message]) -> Status:
    packed = []
    for detail in details:
        item = any_pb2.Any()
        item.Pack(detail)
        packed.append(item)
    return Status(code=code, message=message, details=packed)


def _info(class_name: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(domain=DOMAIN, reason=_reason(class_name))


def _reason(class_name: str) -> str:
    """AIP-193 wants UPPER_SNAKE_CASE: InvalidArgument is INVALID_ARGUMENT."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).upper()


def _cut(text: str, characters: int) -> str:
    # The name of a file may hold bytes that are no text, which no message takes.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= characters else whole[:characters] + "..."


def _unpacked(packed: any_pb2.Any) -> list[Message]:
    for detail in (error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()):
        if packed.Unpack(detail):
            return [detail]
    return []
