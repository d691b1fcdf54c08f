"""What a client refuses before it asks."""

from __future__ import annotations

import pytest

from stillhouse.client.student import GenerationOptions, RolePrompt, StudentClient
from stillhouse.errors import InvalidArgument


@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(regex="a", grammar='root ::= "a"'),
        GenerationOptions(json_schema="{}", role_grammar=RolePrompt("product_owner", {})),
    ],
)
def test_two_constraints_at_once_are_refused(options: GenerationOptions) -> None:
    with StudentClient("127.0.0.1:1") as client, pytest.raises(InvalidArgument, match="one constraint"):
        client.generate("Hi", options)


def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        StudentClient("localhost")
