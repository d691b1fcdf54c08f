"""What a Distillation names from outside stays what it was when it was brought in, also for a new controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planned_world import spec_of
from stillhouse.artifacts.store import Store
from stillhouse.controller.cluster.sources import Sources
from stillhouse.controller.inputs import bring_in
from stillhouse.controller.requests import Inputs
from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.spec.models import DistillationSpec
from stillhouse.spec.optimization import Optimization
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet

ROW = b'{"concept": "x"}\n'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(ROW)
    return folder


def named(bucket: Path, **changes: Any) -> DistillationSpec:
    return spec_of(dataset={"imports": [{"uri": (bucket / "rows.jsonl").as_uri()}], **changes})


class World:
    """Lets a folder stand for a bucket; counts what is brought in. Every look may be that of a new controller."""

    def __init__(self, bucket: Path) -> None:
        self._bucket = bucket
        self.asked = 0

    def sources(self) -> Sources:
        return Sources(self._bring)

    def _bring(self, spec: DistillationSpec, store: Store) -> Inputs:
        self.asked += 1
        return bring_in(spec, store, directory=self._bucket)


def test_what_changed_in_the_bucket_since_changes_nothing(store: Store, bucket: Path) -> None:
    world = World(bucket)
    first = world.sources()
    inputs = first.inputs("team.x", named(bucket), store)
    (bucket / "rows.jsonl").write_bytes(b'{"concept": "y"}\n')
    assert first.inputs("team.x", named(bucket), store) == inputs
    assert world.sources().inputs("team.x", named(bucket), store) == inputs
    (bucket / "rows.jsonl").unlink()
    assert world.sources().inputs("team.x", named(bucket), store) == inputs
    assert world.asked == 1


def test_another_run_and_another_source_are_brought_in_anew(store: Store, bucket: Path) -> None:
    world = World(bucket)
    sources = world.sources()
    sources.inputs("team.x", named(bucket), store)
    (bucket / "rows.jsonl").write_bytes(b'{"concept": "y"}\n')
    (bucket / "more.jsonl").write_bytes(ROW * 2)
    other = sources.inputs("team.other", named(bucket), store)
    assert other != sources.inputs("team.x", named(bucket), store)
    more = {"imports": [{"uri": (bucket / "more.jsonl").as_uri()}]}
    changed = sources.inputs("team.x", named(bucket, **more), store)
    assert changed != sources.inputs("team.x", named(bucket), store)
    assert world.asked == 3
    rows = {"uri": (bucket / "rows.jsonl").as_uri()}
    for wanted in ({"train": rows}, {"validation": rows}):
        spec = named(bucket).model_copy(update={"optimization": Optimization.model_validate(wanted)})
        sources.inputs("team.x", spec, store)
    assert world.asked == 5


def test_what_has_nothing_to_do_with_sources_asks_nothing_again(store: Store, bucket: Path) -> None:
    world = World(bucket)
    sources = world.sources()
    spec = named(bucket)
    inputs = sources.inputs("team.x", spec, store)
    for changes in ({"suspend": True}, {"serve": {"slots": 9}}, {"resources": {"train": {"deadlineSeconds": 5}}}):
        same = spec_of(dataset={"imports": [{"uri": (bucket / "rows.jsonl").as_uri()}]}, **changes)
        assert world.sources().inputs("team.x", same, store) == inputs
    assert world.asked == 1


def test_who_was_forgotten_reads_what_was_written_down(store: Store, bucket: Path) -> None:
    world = World(bucket)
    sources = world.sources()
    inputs = sources.inputs("team.x", named(bucket), store)
    sources.forget("team.x")
    sources.forget("team.x")
    assert sources.inputs("team.x", named(bucket), store) == inputs
    assert world.asked == 1


def test_a_source_that_can_not_be_had_is_not_written_down(store: Store) -> None:
    spec = spec_of(dataset={"imports": [{"uri": "sha256:" + "a" * 64}]})
    with pytest.raises(NotFound):
        Sources().inputs("team.x", spec, store)
    assert list(store.list_objects("")) == []
    with pytest.raises(InvalidArgument):
        Sources().inputs("team.x", spec_of(), store)


@pytest.mark.parametrize(
    "inputs",
    [
        Inputs(()),
        Inputs(
            imports=(Artifact(name="a", sha256="a" * 64, size_bytes=2**40), Artifact(name="b", sha256="b" * 64)),
            concepts=Artifact(name="c", sha256="c" * 64),
            stage_imports=(None, Artifact(name="d", sha256="d" * 64), None),
            validation=Artifact(name="v", sha256="e" * 64),
            base_directory=ArtifactSet(files=[Artifact(name="f", sha256="f" * 64)]),
            optimization_train=Artifact(name="t", sha256="1" * 64),
            optimization_validation=Artifact(name="u", sha256="2" * 64),
        ),
    ],
)
def test_all_that_was_brought_in_comes_back(store: Store, bucket: Path, inputs: Inputs) -> None:
    answers = [inputs]
    assert Sources(lambda *_: answers.pop()).inputs("team.x", named(bucket), store) == inputs
    assert Sources(lambda *_: answers.pop()).inputs("team.x", named(bucket), store) == inputs
