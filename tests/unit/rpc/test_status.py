"""Errors as statuses, as exit codes, and back."""

from __future__ import annotations

import inspect

import pytest
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

from stillhouse import errors
from stillhouse.rpc.status import CODES, classified, code_for, error_of_status, exit_code_of, status_of

TREE = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, errors.StillhouseError)]


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert len(TREE) == 12


@pytest.mark.parametrize("error_class", TREE)
def test_every_error_class_is_mapped(error_class: type[errors.StillhouseError]) -> None:
    assert error_class in CODES, f"{error_class.__name__} has no gRPC status: add it to stillhouse.rpc.status.CODES"


@pytest.mark.parametrize("error_class", TREE)
def test_every_error_survives_the_way_over_the_wire(error_class: type[errors.StillhouseError]) -> None:
    sent = error_class("the disk is full; free some", field="store")
    received = error_of_status(Status.FromString(status_of(sent).SerializeToString()), source="host:1")
    assert type(received) is error_class
    assert received.message == sent.message
    assert received.field == "store"
    assert exit_code_of(received) == sent.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("x"), 65),
        (errors.NotFound("x"), 65),
        (errors.PermissionDenied("x"), 65),
        (errors.FailedPrecondition("x"), 65),
        (errors.DataLoss("x"), 65),
        (errors.Unavailable("x"), 75),
        (errors.ResourceExhausted("x"), 75),
        (errors.DeadlineExceeded("x"), 75),
        (errors.Cancelled("x"), 143),
        (MemoryError(), 75),
        (OSError(28, "No space left on device"), 75),
        (OSError(5, "Input/output error"), 65),
        (KeyError("x"), 65),
    ],
)
def test_exit_codes_are_those_of_the_table(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_retry_info_comes_back_in_seconds() -> None:
    status = status_of(errors.ResourceExhausted("all slots are taken", retry_after_seconds=1.5))
    received = error_of_status(status, source="host:1")
    assert isinstance(received, errors.ResourceExhausted)
    assert received.retry_after_seconds == 1.5


def test_error_info_names_domain_and_class() -> None:
    info = error_details_pb2.ErrorInfo()
    assert status_of(errors.InvalidArgument("x")).details[0].Unpack(info)
    assert (info.domain, info.reason) == ("stillhouse.dev", "INVALID_ARGUMENT")


def test_an_unexpected_error_is_internal_and_keeps_its_text_to_itself() -> None:
    status = status_of(KeyError("the password is swordfish"))
    assert status.code == code_pb2.INTERNAL
    assert "swordfish" not in status.message
    assert "KeyError" in status.message
    assert classified(KeyError("x")) is None


def test_no_error_is_ok() -> None:
    assert status_of(None) == Status(code=code_pb2.OK)


def test_a_class_of_a_service_has_the_code_of_its_parent() -> None:
    class TooSimilar(errors.FailedPrecondition):
        """A service's own."""

    assert code_for(TooSimilar) == code_pb2.FAILED_PRECONDITION


def test_a_status_of_another_server_is_told_with_its_source() -> None:
    error = error_of_status(Status(code=code_pb2.UNIMPLEMENTED, message="no such method"), source="host:1")
    assert type(error) is errors.FailedPrecondition
    assert error.message == "host:1: no such method"


@pytest.mark.parametrize("code", [code for code in code_pb2.Code.values() if code != code_pb2.OK])
def test_every_code_of_another_server_becomes_an_error_of_ours(code: int) -> None:
    assert isinstance(error_of_status(Status(code=code), source="host:1"), errors.StillhouseError)


def test_a_message_that_would_fill_the_trailers_is_cut() -> None:
    status = status_of(errors.InvalidArgument("x" * 100_000, field="y"))
    assert status.ByteSize() < 8000
