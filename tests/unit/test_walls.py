"""Walls that import-linter cannot see: namespaces of an external package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "services" / "stillhouse"


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def parts_that_import(namespace: str) -> set[str]:
    """Top-level parts of the package with a module that imports something of that namespace."""
    return {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(f"{name}.".startswith(f"{namespace}.") for name in imported_names(path))
    }


def test_googles_client_is_the_teachers_and_its_messages_their_emulators_too() -> None:
    assert parts_that_import("google.cloud") <= {"teachers", "vertex_emulator"}
    assert parts_that_import("google.auth") <= {"teachers"}
