"""Saves a training to the store and brings it back: safetensors for every tensor, JSON for the rest, no pickle.

`loop` calls it. The checkpoint's JSON names its files by digest, so a damaged one is noticed before it is used; when it
is written, the files of the checkpoint before it are deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import torch
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stillhouse.artifacts.checkpoints import CheckpointFiles
from stillhouse.artifacts.store import JSONL_MEDIA_TYPE, Store
from stillhouse.errors import DataLoss, InvalidArgument, NotFound, StillhouseError, Unavailable
from stillhouse.rpc.operation import JobContext
from stillhouse.trainer.model import Weights, set_weights, trainable
from stillhouse.v1.artifact_pb2 import Artifact

_FORMAT = 2
_FORMAT_IN_BLOBS = 1
"""Of earlier versions: the files are blobs of the store. It is read, so that their trainings can be resumed."""
_CURVE = "loss_curve.jsonl"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class TrainState:
    """What a training knows beside its weights. `step` counts finished optimizer steps."""

    step: int = 0
    evaluated_step: int = 0
    trained_tokens: int = 0
    best_step: int = 0
    best_tuning_loss: float | None = None
    best_weights: Weights | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the loss curve: step, loss, tuning_loss, learning_rate, tokens."""


@dataclass
class Checkpoints:
    """Writes and reads the checkpoint of one training."""

    context: JobContext
    student: Any
    optimizer: torch.optim.Optimizer
    scaler: Any
    precision: str
    _named: tuple[CheckpointFiles, Sequence[Artifact]] | None = None
    """The files of the checkpoint that this process wrote or read last."""

    def save(self, state: TrainState) -> None:
        """Uploads the files, then names them, then deletes those that were named before.

        A kill between any two of these leaves a checkpoint with all its files. What the store raises is passed on.
        """
        files = CheckpointFiles(self.context.store, self.context.key)
        artifacts = self._upload(files, state)
        self.context.write_checkpoint(
            {
                "format": _FORMAT,
                "files": files.identity,
                "step": state.step,
                "evaluated_step": state.evaluated_step,
                "trained_tokens": state.trained_tokens,
                "best_step": state.best_step,
                "best_tuning_loss": state.best_tuning_loss,
                "precision": self.precision,
                "scaler": self.scaler.state_dict(),
                "artifacts": [MessageToDict(artifact) for artifact in artifacts],
            }
        )
        if self._named is not None:
            self._delete(*self._named)
        self._named = files, artifacts

    def load(self, found: Mapping[str, Any]) -> TrainState:
        """Puts weights, moments and scaler back.

        Raises DataLoss for a damaged checkpoint, saying how to go on, and Unavailable for one that another process
        replaced while it was read.
        """
        try:
            return self._load(found)
        except NotFound as exc:
            if self.context.read_checkpoint() != found:
                raise Unavailable(
                    f"the checkpoint of training {self.context.key} was replaced while it was read: another process "
                    "trains the same; let it end, or stop it, and run again"
                ) from exc
            raise self._damaged(exc.message) from exc
        except (KeyError, TypeError, ValueError, RuntimeError, ParseError, SafetensorError, InvalidArgument) as exc:
            raise self._damaged(str(exc)) from exc

    def _load(self, found: Mapping[str, Any]) -> TrainState:
        artifacts = {item["name"]: ParseDict(item, Artifact()) for item in found["artifacts"]}
        source = self._source(found)
        set_weights(self.student, self._get(source, artifacts["weights.safetensors"]))
        self._set_moments(self._get(source, artifacts["optimizer.safetensors"]))
        self.scaler.load_state_dict(found["scaler"])
        best = artifacts.get("best.safetensors")
        state = TrainState(
            step=int(found["step"]),
            evaluated_step=int(found["evaluated_step"]),
            trained_tokens=int(found["trained_tokens"]),
            best_step=int(found["best_step"]),
            best_tuning_loss=found["best_tuning_loss"],
            best_weights=self._get(source, best) if best is not None else None,
            curve=[json.loads(line) for line in source.read_bytes(artifacts[_CURVE]).decode("utf-8").splitlines()],
        )
        if isinstance(source, CheckpointFiles):
            self._named = source, list(artifacts.values())
        return state

    def _source(self, found: Mapping[str, Any]) -> CheckpointFiles | Store:
        if found["format"] == _FORMAT:
            return CheckpointFiles(self.context.store, self.context.key, found["files"])
        if found["format"] == _FORMAT_IN_BLOBS:
            return self.context.store
        raise ValueError(f"format {found['format']}")

    def _damaged(self, how: str) -> DataLoss:
        key = self.context.key
        return DataLoss(
            f"the checkpoint of training {key} is damaged ({how}); delete runs/{key}/ in the store to train from the "
            "start"
        )

    def _upload(self, files: CheckpointFiles, state: TrainState) -> list[Artifact]:
        weights = {name: value.data for name, value in trainable(self.student).items()}
        tensors = {"weights": weights, "optimizer": self._moments()}
        if state.best_weights is not None:
            tensors["best"] = state.best_weights
        artifacts = [files.put_bytes(_curve_lines(state), name=_CURVE)]
        try:
            for name, values in tensors.items():
                artifacts.append(self._put(files, name, values))
        except StillhouseError:
            # A disk that is full must not be filled further by what no checkpoint will name.
            self._delete(files, artifacts)
            raise
        return artifacts

    def _delete(self, files: CheckpointFiles, artifacts: Sequence[Artifact]) -> None:
        """What can't be deleted now goes with the run, or with `gc`; no training ends because of it."""
        try:
            files.delete(artifacts)
        except StillhouseError as exc:
            log = structlog.get_logger("stillhouse.trainer")
            log.warning("checkpoint files not deleted", key=self.context.key, error=exc.message)

    def _moments(self) -> Weights:
        moments: Weights = {}
        for name, parameter in trainable(self.student).items():
            for part, value in self.optimizer.state.get(parameter, {}).items():
                moments[f"{part}.{name}"] = value
        return moments

    def _set_moments(self, moments: Weights) -> None:
        names = list(trainable(self.student))
        state = {index: {part: moments[f"{part}.{name}"] for part in _MOMENTS} for index, name in enumerate(names)}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state if moments else {}, "param_groups": groups})

    def _put(self, files: CheckpointFiles, name: str, tensors: Weights) -> Artifact:
        path = self.context.workspace / f"{name}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
        artifact = files.put_file(path, name=path.name)
        path.unlink()
        return artifact

    def _get(self, source: CheckpointFiles | Store, artifact: Artifact) -> Weights:
        path = source.fetch(artifact, self.context.workspace / f"resumed-{artifact.name}")
        tensors: Weights = load_file(path)
        path.unlink()
        return tensors


def put_curve(context: JobContext, state: TrainState) -> Artifact:
    """The loss curve as JSONL in the store."""
    return context.store.put_bytes(
        _curve_lines(state), name=_CURVE, media_type=JSONL_MEDIA_TYPE, producer_key=context.key
    )


def _curve_lines(state: TrainState) -> bytes:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in state.curve).encode()
