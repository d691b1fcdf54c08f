"""What a server lets the requests of others name."""

from __future__ import annotations

import pytest

from stillhouse.errors import InvalidArgument, PermissionDenied
from stillhouse.teachers.permission import endpoints_allowed, refuse_own_endpoint
from stillhouse.v1.teacher_pb2 import TeacherModel


@pytest.mark.parametrize(
    "model",
    [
        TeacherModel(provider="vertex", model="gemini-2.5-pro", endpoint="https://evil.example"),
        TeacherModel(provider="gguf", model="/etc/passwd"),
        TeacherModel(provider="litellm", model="huggingface/https://evil.example"),
    ],
)
def test_an_address_or_a_file_of_the_requests_own_is_refused(model: TeacherModel) -> None:
    with pytest.raises(PermissionDenied, match="STILLHOUSE_ALLOW_TEACHER_ENDPOINT=1") as caught:
        refuse_own_endpoint(model)
    assert caught.value.field == "teacher.endpoint"


@pytest.mark.parametrize("provider", ["vertex", "litellm", "student"])
def test_a_model_by_its_name_is_not(provider: str) -> None:
    refuse_own_endpoint(TeacherModel(provider=provider, model="openai/gpt-5"))


def test_the_environment_allows_it() -> None:
    assert [endpoints_allowed(environ) for environ in ({}, _allowing(""), _allowing("0"), _allowing("1"))] == [
        False,
        False,
        False,
        True,
    ]
    with pytest.raises(InvalidArgument, match="'yes' is neither 0 nor 1"):
        endpoints_allowed(_allowing("yes"))


def _allowing(value: str) -> dict[str, str]:
    return {"STILLHOUSE_ALLOW_TEACHER_ENDPOINT": value}
