"""Saves a training to the store and brings it back: safetensors for every tensor, JSON for the rest, no pickle.

`loop` calls it. The checkpoint's JSON names its blobs by digest, so a damaged one is noticed before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stillhouse.errors import DataLoss
from stillhouse.rpc.operation import JobContext
from stillhouse.trainer.model import Weights, set_weights, trainable
from stillhouse.v1.artifact_pb2 import Artifact

_FORMAT = 1
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
    _best: tuple[int, Artifact] | None = None

    def save(self, state: TrainState) -> None:
        """Uploads the blobs, then names them. What the store raises is passed on."""
        artifacts = [
            self._put("weights", {name: value.data for name, value in trainable(self.student).items()}),
            self._put("optimizer", self._moments()),
            put_curve(self.context, state),
        ]
        if state.best_weights is not None:
            if self._best is None or self._best[0] != state.best_step:
                self._best = state.best_step, self._put("best", state.best_weights)
            artifacts.append(self._best[1])
        self.context.write_checkpoint(
            {
                "format": _FORMAT,
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

    def load(self, found: Mapping[str, Any]) -> TrainState:
        """Puts weights, moments and scaler back. Raises DataLoss for a damaged checkpoint, saying how to go on."""
        try:
            artifacts = {item["name"]: ParseDict(item, Artifact()) for item in found["artifacts"]}
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']}")
            set_weights(self.student, self._get(artifacts["weights.safetensors"]))
            self._set_moments(self._get(artifacts["optimizer.safetensors"]))
            self.scaler.load_state_dict(found["scaler"])
            best = artifacts.get("best.safetensors")
            state = TrainState(
                step=int(found["step"]),
                evaluated_step=int(found["evaluated_step"]),
                trained_tokens=int(found["trained_tokens"]),
                best_step=int(found["best_step"]),
                best_tuning_loss=found["best_tuning_loss"],
                best_weights=self._get(best) if best is not None else None,
                curve=self._get_curve(artifacts["loss_curve.jsonl"]),
            )
        except (KeyError, TypeError, ValueError, RuntimeError, ParseError, SafetensorError) as exc:
            raise DataLoss(
                f"the checkpoint of training {self.context.key} is damaged ({exc}); delete runs/{self.context.key}/ "
                "in the store to train from the start"
            ) from exc
        if best is not None:
            self._best = state.best_step, best
        return state

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

    def _put(self, name: str, tensors: Weights) -> Artifact:
        path = self.context.workspace / f"{name}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
        artifact = self.context.store.put_file(path, name=path.name, producer_key=self.context.key)
        path.unlink()
        return artifact

    def _get(self, artifact: Artifact) -> Weights:
        path = self.context.store.fetch(artifact, self.context.workspace / f"resumed-{artifact.name}")
        tensors: Weights = load_file(path)
        path.unlink()
        return tensors

    def _get_curve(self, artifact: Artifact) -> list[dict[str, Any]]:
        text = self.context.store.read_bytes(artifact).decode("utf-8")
        return [json.loads(line) for line in text.splitlines()]


def put_curve(context: JobContext, state: TrainState) -> Artifact:
    """The loss curve as JSONL in the store."""
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in state.curve)
    return context.store.put_bytes(
        text.encode(), name="loss_curve.jsonl", media_type="application/jsonl", producer_key=context.key
    )
