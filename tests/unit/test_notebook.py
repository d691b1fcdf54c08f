"""The Colab notebook is what its script writes, holds no results, and only calls the command line."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "stillhouse_train.ipynb"
WRAPPERS = {"run", "stillhouse"}


@pytest.fixture(scope="module")
def notebook() -> Any:
    return json.loads(NOTEBOOK.read_text("utf-8"))


def code_of(notebook: Any) -> str:
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


def strings_of(code: str) -> list[str]:
    return [
        node.value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_the_notebook_is_what_its_script_writes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_notebook.py")]
    written = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    assert NOTEBOOK.read_bytes() == written, "make generate"


def test_it_is_a_notebook_of_format_4_5(notebook: Any) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["accelerator"] == "GPU"
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identities)) == len(identities)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", identity) for identity in identities)
    for cell in notebook["cells"]:
        of_code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | of_code


def test_no_cell_holds_what_a_run_left(notebook: Any) -> None:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_the_cells_define_nothing_but_the_call_of_a_command(notebook: Any) -> None:
    defined = [
        node.name
        for node in ast.walk(ast.parse(code_of(notebook)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    assert sorted(defined) == sorted(WRAPPERS)


def test_the_cells_import_neither_the_package_nor_what_trains_and_serves(notebook: Any) -> None:
    tree = ast.parse(code_of(notebook))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {module.partition(".")[0] for module in modules}
    assert roots <= set(sys.stdlib_module_names) | {"altair", "google"}


def test_the_preset_is_that_of_a_t4(notebook: Any) -> None:
    from stillhouse.spec.presets import PRESETS

    assert "t4-7b" in PRESETS
    assert {"t4-7b", "Qwen/Qwen2.5-7B-Instruct"} <= set(strings_of(code_of(notebook)))


def test_it_installs_extras_that_exist_and_names_no_package_index(notebook: Any) -> None:
    extras = re.findall(r"stillhouse\[([^]]+)\]", code_of(notebook))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert len(extras) == 1
    assert set(extras[0].split(",")) <= project["optional-dependencies"].keys()
    addresses = re.findall(r"https?://[^\s\"']+", NOTEBOOK.read_text("utf-8").replace("\\", " "))
    assert addresses == ["https://github.com/stillhouse/stillhouse"]
