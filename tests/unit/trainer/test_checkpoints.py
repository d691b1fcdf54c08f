"""A training's checkpoint survives every kill, a second runner and a change of format, and leaves nothing behind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf.json_format import MessageToDict
from safetensors.torch import save_file

from job_contexts import job_context
from stillhouse.artifacts.checkpoints import CheckpointFiles
from stillhouse.artifacts.objects import Objects
from stillhouse.artifacts.store import Store
from stillhouse.errors import DataLoss, ResourceExhausted, Unavailable
from stillhouse.trainer.checkpoints import Checkpoints, TrainState
from stillhouse.trainer.model import copy_weights

KEY = "a" * 64


class Killed(BaseException):
    """Nothing of ours runs after it, as after SIGKILL."""


class WatchedObjects(Objects):
    """Objects that call `before` ahead of every write, delete and streamed read."""

    def __init__(self, uri: str, before: Callable[[str, str], None]) -> None:
        super().__init__(uri)
        self._before = before

    def write(self, path: str, data: bytes) -> None:
        self._before("write", path)
        super().write(path, data)

    def delete(self, path: str) -> None:
        self._before("delete", path)
        super().delete(path)

    def stream(self, path: str, chunk_bytes: int = 1024 * 1024) -> Iterator[bytes] | None:
        self._before("stream", path)
        return super().stream(path, chunk_bytes)


class Training:
    """What a checkpoint is made of, with one matrix for a student; each is another process."""

    made = 0

    def __init__(self, folder: Path, before: Callable[[str, str], None] | None = None) -> None:
        uri = str(folder / "store")
        self.store = Store(WatchedObjects(uri, before)) if before else Store.open(uri)
        Training.made += 1
        workspace = folder / f"machine-{Training.made}"
        workspace.mkdir()
        self.context = job_context(self.store, workspace, key=KEY)
        self.student = torch.nn.Linear(4, 4, bias=False)
        self.optimizer = torch.optim.AdamW(self.student.parameters())
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.checkpoints = Checkpoints(self.context, self.student, self.optimizer, scaler, "float32")

    def step(self) -> None:
        self.student(torch.ones(1, 4)).sum().backward()
        self.optimizer.step()

    def save(self, step: int) -> None:
        """A checkpoint of that many steps; its best weights are the weights."""
        self.step()
        state = TrainState(step=step, best_step=step, best_tuning_loss=1.0, curve=[{"step": step}])
        state.best_weights = copy_weights(self.student)
        self.checkpoints.save(state)

    def load(self) -> TrainState:
        found = self.context.read_checkpoint()
        assert found is not None
        return self.checkpoints.load(found)

    def files(self) -> list[str]:
        return list(self.store.list_objects(f"runs/{KEY}/checkpoint"))


def test_only_the_last_checkpoints_files_are_kept(tmp_path: Path) -> None:
    training = Training(tmp_path)
    for step in range(1, 4):
        training.save(step)

    found = training.context.read_checkpoint()
    assert found is not None
    assert len(training.files()) == 3, "loss curve, weights that are the best ones, moments"
    assert all(found["files"] in path for path in training.files())
    assert list(training.store.list_objects("blobs")) == []
    assert Training(tmp_path).load().step == 3


def test_what_an_earlier_process_saved_goes_with_the_first_checkpoint_of_the_next(tmp_path: Path) -> None:
    Training(tmp_path).save(1)
    resumed = Training(tmp_path)
    assert resumed.load().step == 1
    resumed.save(2)
    assert len(resumed.files()) == 3
    assert Training(tmp_path).load().step == 2


def test_a_kill_at_any_moment_leaves_a_checkpoint_that_can_be_read(tmp_path: Path) -> None:
    steps = set()
    for moment in range(20):
        folder = tmp_path / str(moment)
        folder.mkdir()
        Training(folder).save(1)
        ahead = iter(range(moment, -1, -1))

        def kill(action: str, path: str, ahead: Iterator[int] = ahead) -> None:
            if action != "stream" and next(ahead) == 0:
                raise Killed

        killed = Training(folder, kill)
        killed.load()
        try:
            killed.save(2)
        except Killed:
            step = Training(folder).load().step
            steps.add(step)
            continue
        assert moment == 7, "three files and their names, three deletions"
        break
    assert steps == {1, 2}


def test_two_runners_of_one_training_never_lose_the_checkpoint(tmp_path: Path) -> None:
    dice = random.Random(7)
    first = Training(tmp_path)
    first.save(1)
    second = Training(tmp_path)
    second.load()
    runners = [first, second]
    for step in range(2, 40):
        runner = dice.randrange(2)
        if dice.random() < 0.3:
            runners[runner] = Training(tmp_path)
            runners[runner].load()
        runners[runner].save(step)
        assert Training(tmp_path).load().step == step


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_tried_again(tmp_path: Path) -> None:
    writer = Training(tmp_path)
    writer.save(1)
    others = [lambda: writer.save(2)]

    def overtake(action: str, path: str) -> None:
        if action == "stream" and others:
            others.pop()()

    reader = Training(tmp_path, overtake)
    with pytest.raises(Unavailable, match="another process trains the same"):
        reader.load()
    assert reader.load().step == 2


def test_a_checkpoint_whose_files_are_gone_says_what_to_delete(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.save(1)
    for path in training.files():
        training.store.delete_object(path)
    with pytest.raises(DataLoss, match=f"delete runs/{KEY}/"):
        Training(tmp_path).load()


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_no_files(tmp_path: Path) -> None:
    Training(tmp_path).save(1)

    def fill(action: str, path: str) -> None:
        if action == "write" and len(list(store.list_objects(f"runs/{KEY}/checkpoint"))) == 5:
            raise ResourceExhausted("the disk is full")

    store = Store.open(str(tmp_path / "store"))
    full = Training(tmp_path, fill)
    full.load()
    with pytest.raises(ResourceExhausted):
        full.save(2)
    assert len(full.files()) == 3
    assert Training(tmp_path).load().step == 1


def test_a_store_that_refuses_to_delete_does_not_end_the_training(tmp_path: Path) -> None:
    def refuse(action: str, path: str) -> None:
        if action == "delete":
            raise Unavailable("not now")

    training = Training(tmp_path, refuse)
    training.save(1)
    training.save(2)
    assert Training(tmp_path).load().step == 2


def test_a_checkpoint_of_the_first_format_is_resumed(tmp_path: Path) -> None:
    earlier = Training(tmp_path)
    earlier.save(5)
    rewrite_in_first_format(earlier, tmp_path)

    resumed = Training(tmp_path)
    state = resumed.load()

    assert (state.step, state.curve) == (5, [{"step": 5}])
    assert state.best_weights is not None
    assert torch.equal(resumed.student.weight, earlier.student.weight)
    (moments,) = resumed.optimizer.state.values()
    (expected,) = earlier.optimizer.state.values()
    assert torch.equal(moments["exp_avg_sq"], expected["exp_avg_sq"])
    resumed.save(6)
    assert Training(tmp_path).load().step == 6


def rewrite_in_first_format(training: Training, folder: Path) -> None:
    """The same checkpoint as releases before wrote it: every file a blob."""
    store, found = training.store, training.context.read_checkpoint()
    assert found is not None
    files = CheckpointFiles(store, KEY, found.pop("files"))
    artifacts: list[dict[str, Any]] = []
    for item in found["artifacts"]:
        path = folder / item["name"]
        from_files = next(each for each in training.files() if each.endswith(item["sha256"]))
        path.write_bytes(store.read_object(from_files) or b"")
        artifacts.append(MessageToDict(store.put_file(path, name=item["name"], producer_key=KEY)))
    for path in training.files():
        assert files.identity in path
        store.delete_object(path)
    store.put_object(f"runs/{KEY}/checkpoint.json", json.dumps({**found, "format": 1, "artifacts": artifacts}).encode())


def test_an_id_that_leaves_the_run_is_refused(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.save(1)
    found = training.context.read_checkpoint()
    assert found is not None
    training.context.write_checkpoint({**found, "files": "../../blobs"})
    with pytest.raises(DataLoss, match="no id of a checkpoint"):
        Training(tmp_path).load()


def test_files_larger_than_a_request_are_streamed_and_come_back(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    files = CheckpointFiles(store, KEY)
    path = tmp_path / "large.safetensors"
    save_file({"x": torch.zeros(2_000_000)}, path)
    artifact = files.put_file(path, name=path.name)
    fetched = CheckpointFiles(store, KEY, files.identity).fetch(artifact, tmp_path / "back")
    assert fetched.read_bytes() == path.read_bytes()
