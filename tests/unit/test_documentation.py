"""Commands in the documents exist, with the options they show; files that are named are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from stillhouse.cli.__main__ import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_in(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^(?:    |\$ )(?:\.venv/bin/)?(stillhouse [^#\n]*|make [a-z-]+[^#\n]*)", text, re.MULTILINE)
    return [" ".join(command.split()) for command in found]


CASES = [(document.name, command) for document in DOCUMENTS for command in commands_in(document)]


def test_the_readme_shows_commands() -> None:
    assert len(CASES) > 10


@pytest.mark.parametrize(("document", "command"), CASES)
def test_a_documented_command_exists(document: str, command: str) -> None:
    if command.startswith("make "):
        target = command.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make {target}"
        return
    for part in command.removeprefix("stillhouse ").split(" | "):
        node = typer.main.get_command(app)
        words = part.split()
        while words and hasattr(node, "commands"):
            name = words.pop(0)
            assert name in node.commands, f"{document}: stillhouse has no command {name}"
            node = node.commands[name]
        known = {option for parameter in node.params for option in parameter.opts}
        for option in re.findall(r"--[a-z-]+", " ".join(words)):
            assert option in known, f"{document}: {option} of {part}"


def test_the_readme_names_every_folder_of_the_package_and_no_other() -> None:
    tree = (ROOT / "README.md").read_text().partition("## The house")[2]
    named = set(re.findall(r"^  ([a-z0-9_]+)/ ", tree, re.MULTILINE))
    package = ROOT / "services" / "stillhouse"
    assert named == {module.parent.name for module in package.glob("*/__init__.py")}


def test_paths_in_the_readme_exist() -> None:
    for path in re.findall(r"(?:k8s|docs|scripts)/[\w./-]+\w", (ROOT / "README.md").read_text()):
        assert (ROOT / path).exists(), path
