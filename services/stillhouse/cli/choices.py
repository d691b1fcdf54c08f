"""Names that options choose among: roles and guards. A wrong one is wrong usage. Called by the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillhouse.cli.errors import as_usage

if TYPE_CHECKING:
    from stillhouse.roles.role import Role


def chosen_role(name: str) -> Role:
    """The role of --role. Raises BadParameter."""
    from stillhouse.roles.role import load_role

    with as_usage("--role"):
        return load_role(name)


def chosen_guards(role: Role, names: str | None) -> list[str]:
    """The guards of --guards, by comma: all of the role's where it is not given, none for `-`. Raises BadParameter."""
    chosen = list(role.guard_names) if names is None else [name for name in names.split(",") if name != "-"]
    with as_usage("--guards"):
        role.guards({}, {}, chosen)
    return chosen
