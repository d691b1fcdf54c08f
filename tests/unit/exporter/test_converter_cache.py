from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stillhouse.errors import DataLoss, Unavailable
from stillhouse.exporter.converter import converter_pin, prepare_converter, tree_digest


def test_the_pin_names_one_version_and_one_digest() -> None:
    pin = converter_pin()
    assert (pin.project, pin.version, len(pin.sha256)) == ("llama-cpp-python", "0.3.36", 64)


def test_a_changed_file_in_the_cache_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "converter" / converter_pin().sha256
    (home / "conversion").mkdir(parents=True)
    (home / "convert_hf_to_gguf.py").write_text("print('something else')")
    with pytest.raises(DataLoss, match="delete that directory"):
        prepare_converter(tmp_path, stopping=threading.Event())


def test_an_unreachable_index_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(Unavailable, match="package index is needed once"):
        prepare_converter(tmp_path / "cache", stopping=threading.Event())
    assert not list((tmp_path / "cache" / "converter").iterdir())


def test_the_digest_of_a_tree_ignores_compiled_leftovers_but_no_content(tmp_path: Path) -> None:
    (tmp_path / "gguf-py").mkdir()
    (tmp_path / "gguf-py" / "a.py").write_text("1")
    before = tree_digest(tmp_path)
    (tmp_path / "gguf-py" / "a.cpython-311.pyc").write_bytes(b"\0")
    (tmp_path / "other.txt").write_text("not wanted")
    assert tree_digest(tmp_path) == before
    (tmp_path / "gguf-py" / "a.py").write_text("2")
    assert tree_digest(tmp_path) != before
