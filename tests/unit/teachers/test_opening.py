"""Which teacher a reference opens, and what is said where none can be."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from typing import get_args

import pytest

from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.spec.teacher import TeacherStage
from stillhouse.teachers.emulator import emulator_arguments, emulator_identity
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.providers import PROVIDERS
from stillhouse.teachers.teacher import Teacher
from stillhouse.teachers.vertex_access import endpoint_of
from stillhouse.v1.teacher_pb2 import EmulatorOptions, TeacherModel
from stillhouse.vertex_emulator.config import EmulatorConfig
from stillhouse.vertex_emulator.desk import Conditions


async def _identity(model: TeacherModel, environ: Mapping[str, str]) -> str:
    teacher: Teacher = await open_teacher(model, environ)
    await teacher.close()
    return teacher.identity


def test_an_unknown_provider_is_told_the_known_ones_which_are_the_specs() -> None:
    with pytest.raises(InvalidArgument, match=r"'openai'.*vertex, vertex_sdk, litellm, gguf, student, emulator"):
        asyncio.run(open_teacher(TeacherModel(provider="openai"), {}))
    assert get_args(TeacherStage.model_fields["provider"].annotation) == PROVIDERS


def test_a_missing_library_names_the_extra_to_install() -> None:
    code = (
        "import asyncio, sys\n"
        "sys.modules['google.cloud.aiplatform_v1'] = None\n"
        "from stillhouse.teachers.opening import open_teacher\n"
        "from stillhouse.errors import FailedPrecondition\n"
        "from stillhouse.v1.teacher_pb2 import TeacherModel\n"
        "try:\n"
        "    asyncio.run(open_teacher(TeacherModel(provider='vertex', model='m'), {}))\n"
        "except FailedPrecondition as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'stillhouse[teacher-generator]'" in done.stdout


def test_opening_imports_no_providers_library() -> None:
    code = (
        "import sys\nimport stillhouse.teachers.opening, stillhouse.teachers.paid\n"
        "print([name for name in ('litellm', 'google.cloud.aiplatform_v1', 'xllamacpp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_identities_name_the_model_and_no_port() -> None:
    own = TeacherModel(provider="vertex", model="gemini-2.5-pro", endpoint="http://localhost:1234")
    assert asyncio.run(_identity(own, {})) == "vertex@localhost:gemini-2.5-pro"
    google = TeacherModel(provider="vertex_sdk", model="gemini-2.5-pro", project="p")
    assert asyncio.run(_identity(google, {"STILLHOUSE_VERTEX_TOKEN": "t"})) == "vertex:gemini-2.5-pro"
    assert asyncio.run(_identity(TeacherModel(provider="litellm", model="ollama/x"), {})) == "litellm:ollama/x"


def test_what_decides_an_emulated_answer_is_in_its_identity() -> None:
    model = TeacherModel(model="gemini-2.5-flash", emulator=EmulatorOptions(faults="recorded", latency_seconds=9))
    assert emulator_identity(model) == "emulator:gemini-2.5-flash?faults=recorded&seed=0"


@pytest.mark.parametrize("latency", [0.0, 0.00001, 0.5, 2_000_000.0])
def test_an_emulator_of_ones_own_is_started_as_the_reference_says(latency: float) -> None:
    options = EmulatorOptions(faults="recorded", seed=3, latency_seconds=latency, requests_per_minute=60)
    program, *flags = emulator_arguments(TeacherModel(emulator=options))
    config = EmulatorConfig.from_arguments(flags, {})
    assert program == "stillhouse.vertex_emulator"
    assert (config.recorded_faults, config.seed) == (True, 3)
    assert config.conditions == Conditions(latency_seconds=latency, requests_per_minute=60)


def test_google_wants_a_project() -> None:
    model = TeacherModel(provider="vertex", model="gemini-2.5-pro")
    with pytest.raises(InvalidArgument, match="GOOGLE_CLOUD_PROJECT"):
        asyncio.run(open_teacher(model, {"STILLHOUSE_VERTEX_TOKEN": "t"}))
    environ = {"STILLHOUSE_VERTEX_TOKEN": "t", "GOOGLE_CLOUD_PROJECT": "p"}
    assert asyncio.run(_identity(model, environ)) == "vertex:gemini-2.5-pro"


@pytest.mark.parametrize(
    ("url", "location", "address", "tls"),
    [
        ("", "us-central1", "us-central1-aiplatform.googleapis.com:443", True),
        ("", "global", "aiplatform.googleapis.com:443", True),
        ("http://localhost:8080/", "x", "localhost:8080", False),
        ("https://vertex.example", "x", "vertex.example:443", True),
        ("https://[::1]:99", "x", "[::1]:99", True),
    ],
)
def test_endpoints_are_read(url: str, location: str, address: str, tls: bool) -> None:
    found = endpoint_of(url, location)
    assert (found.address, found.tls) == (address, tls)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://x", "http://", "http://x:port", "https://x/v1", "http://x:99999"]
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="is no http://HOST:PORT"):
        endpoint_of(url, "global")


@pytest.mark.parametrize("location", ["", "evil.example#", "evil.example/", "a?b", "a.b", "-a", "a\n", "us central"])
def test_a_location_leads_to_no_host_but_googles(location: str) -> None:
    with pytest.raises(InvalidArgument, match="no location of Vertex AI") as caught:
        endpoint_of("", location)
    assert caught.value.field == "location"


def test_a_model_must_be_named() -> None:
    with pytest.raises(InvalidArgument, match="no model is named"):
        asyncio.run(open_teacher(TeacherModel(provider="vertex", endpoint="http://localhost:1"), {}))


def test_an_authority_that_is_not_there_is_named() -> None:
    environ = {"STILLHOUSE_VERTEX_TOKEN": "t", "STILLHOUSE_VERTEX_CA": "/nowhere.pem"}
    model = TeacherModel(provider="vertex", model="m", endpoint="https://localhost:1")
    with pytest.raises(NotFound, match=r"STILLHOUSE_VERTEX_CA=/nowhere\.pem"):
        asyncio.run(open_teacher(model, environ))
