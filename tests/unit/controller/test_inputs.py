"""What a spec names from outside: where it is looked for, and what is said of what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from planned_world import spec_of
from stillhouse.artifacts.store import Store
from stillhouse.controller.inputs import bring_in
from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.spec.models import DistillationSpec

ROWS = b'{"concept": "a diary"}\n'


def importing(uri: str) -> DistillationSpec:
    return spec_of(dataset={"imports": [{"uri": uri}]})


def test_an_object_of_another_store_is_copied(tmp_path: Path) -> None:
    Store.open("memory://inputs-outside").put_object("rows.jsonl", ROWS)
    store = Store.open("memory://inputs-copied")
    (artifact,) = bring_in(importing("memory://inputs-outside/rows.jsonl"), store, directory=tmp_path).imports
    assert store.read_bytes(artifact) == ROWS
    assert artifact.name == "import-0.jsonl"


def test_what_an_object_is_called_does_not_matter_but_its_bytes_do(tmp_path: Path) -> None:
    store = Store.open("memory://inputs-named")
    for name, rows in (("a.jsonl", ROWS), ("b.jsonl", ROWS), ("c.jsonl", ROWS * 2)):
        (tmp_path / name).write_bytes(rows)
    a, b, c = (
        bring_in(importing(name), store, directory=tmp_path).imports[0] for name in ("a.jsonl", "b.jsonl", "c.jsonl")
    )
    assert a == b
    assert a != c


def test_rows_of_an_optimization_are_named_by_their_use(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    changes = {"train": {"uri": "rows.jsonl"}, "validation": {"synthesized": {"count": 2}}}
    spec = spec_of(dataset={"imports": [{"synthesized": {"count": 2}}]}, optimization=changes)
    inputs = bring_in(spec, Store.open("memory://inputs-optimization"), directory=tmp_path)
    assert inputs.optimization_train is not None
    assert inputs.optimization_validation is not None
    assert (inputs.optimization_train.name, inputs.optimization_validation.name) == ("train.jsonl", "validation.jsonl")
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(NotFound, match=r"^spec\.optimization\.train: "):
        bring_in(spec, Store.open("memory://inputs-optimization"), directory=tmp_path)


@pytest.mark.parametrize(
    ("uri", "error", "said"),
    [
        ("memory://inputs-nothing/rows.jsonl", NotFound, "memory://inputs-nothing/rows.jsonl does not exist"),
        ("nowhere.jsonl", NotFound, "nowhere.jsonl does not exist"),
        ("file/below.jsonl", NotFound, "file/below.jsonl does not exist"),
        (".", InvalidArgument, "is no file"),
        (f"sha256:{'a' * 64}", NotFound, "no artifact sha256:aaa"),
    ],
)
def test_what_is_not_there_is_named_with_its_place_in_the_spec(
    tmp_path: Path, uri: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error, match=r"^spec\.dataset\.imports\[0\]: ") as caught:
        bring_in(importing(uri), Store.open("memory://inputs-none"), directory=tmp_path)
    assert said in str(caught.value)
