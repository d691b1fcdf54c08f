"""What a request says of its role, held against the role that is installed. Called by stages before they work."""

from __future__ import annotations

from collections.abc import Iterable

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.roles.role import Role
from stillhouse.v1.common_pb2 import RoleReference


def check_version(role: Role, requested: RoleReference) -> None:
    """Raises FailedPrecondition where the request is for another version of the role."""
    if requested.version != role.version:
        raise FailedPrecondition(
            f"the request is for version {requested.version} of role {role.name!r}, installed is {role.version};"
            " plan the run again with the installed version",
            field="role.version",
        )


def check_guards(role: Role, names: Iterable[str]) -> None:
    """Raises InvalidArgument where the role has no guard of one of the names."""
    for name in names:
        if name not in role.guard_names:
            raise InvalidArgument(
                f"role {role.name!r} has no guard {name!r}; it has {', '.join(role.guard_names)}", field="guards"
            )
