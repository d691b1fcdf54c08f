from __future__ import annotations

import subprocess
import sys

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.roles.product_owner import ROLE
from stillhouse.roles.role import load_role


def test_the_role_is_found_by_its_name() -> None:
    assert load_role("product_owner") is ROLE
    with pytest.raises(InvalidArgument, match=r"installed roles: .*product_owner"):
        load_role("poet")


def test_the_fields_are_named_with_required_inputs_first() -> None:
    assert ROLE.input_fields == ("concept", "requirements_yaml", "existing_vision")
    assert ROLE.optional_inputs == {"existing_vision"}
    assert ROLE.output_fields == ("product_vision", "product_owner_review")
    assert ROLE.group_field in ROLE.input_fields


def test_records_are_grouped_by_the_normalised_concept() -> None:
    assert ROLE.group_key({"concept": "  A  Ledger\nfor Clerks "}) == "a ledger for clerks"
    assert ROLE.group_key({}) == ""


def test_missing_outputs_are_problems() -> None:
    assert ROLE.problems({}) == ["there is no VISION", "there is no REVIEW"]
    with pytest.raises(InvalidArgument, match="product_vision"):
        ROLE.canonical({})


def test_the_role_is_loaded_without_dspy_or_a_service() -> None:
    script = (
        "import sys, stillhouse.roles.product_owner; print([m for m in ('dspy', 'torch', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
