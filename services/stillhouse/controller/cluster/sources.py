"""What a Distillation names from outside, brought into the store once. Called by the reconciler.

An object in a bucket may change; what was brought in for these sources is written down in the store and stays what it
was, also for a controller that starts anew.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from stillhouse.artifacts.store import Store
from stillhouse.controller.inputs import bring_in
from stillhouse.controller.requests import Inputs
from stillhouse.controller.runs import run_folder
from stillhouse.spec.models import DistillationSpec
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet

_VERSION = 1


def _from_outside(spec: DistillationSpec, store: Store) -> Inputs:
    return bring_in(spec, store, directory=None)


class Sources:
    """The inputs of Distillations, by run name. Safe to share between threads."""

    def __init__(self, bring: Callable[[DistillationSpec, Store], Inputs] = _from_outside) -> None:
        """Knows none yet; `bring` puts them into the store."""
        self._bring = bring
        self._known: dict[str, tuple[str, Inputs]] = {}
        self._lock = threading.Lock()

    def inputs(self, run: str, spec: DistillationSpec, store: Store) -> Inputs:
        """Of the run of that name. Raises what `bring_in` raises."""
        digest = _digest(spec, store)
        with self._lock:
            known = self._known.get(run)
        if known is not None and known[0] == digest:
            return known[1]
        path = f"{run_folder(run)}/inputs-{digest}.json"
        data = store.read_object(path)
        if data is not None:
            inputs = _parsed(json.loads(data))
        else:
            inputs = self._bring(spec, store)
            store.put_object(path, json.dumps(_document(inputs), sort_keys=True).encode())
        with self._lock:
            self._known[run] = (digest, inputs)
        return inputs

    def forget(self, run: str) -> None:
        """It is gone."""
        with self._lock:
            self._known.pop(run, None)


def _digest(spec: DistillationSpec, store: Store) -> str:
    """Of everything that decides what is brought in."""
    dataset = spec.dataset
    sources = [
        _VERSION,
        store.uri,
        spec.role,
        spec.student.base,
        *(
            None if source is None else source.model_dump(mode="json")
            for source in (*dataset.imports, *(stage.import_ for stage in spec.teacher_stages), dataset.concepts)
        ),
        None if dataset.validation is None else dataset.validation.model_dump(mode="json"),
    ]
    if (wanted := spec.optimization) is not None:  # without one the digests are those of earlier controllers
        sources += [
            None if rows is None else rows.model_dump(mode="json") for rows in (wanted.train, wanted.validation)
        ]
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:16]


def _document(inputs: Inputs) -> dict[str, Any]:
    return {
        "imports": [_json(artifact) for artifact in inputs.imports],
        "concepts": _json(inputs.concepts),
        "stage_imports": [_json(artifact) for artifact in inputs.stage_imports],
        "validation": _json(inputs.validation),
        "base_directory": _json(inputs.base_directory),
        "optimization_train": _json(inputs.optimization_train),
        "optimization_validation": _json(inputs.optimization_validation),
    }


def _parsed(document: dict[str, Any]) -> Inputs:
    def artifact(value: Any) -> Artifact | None:
        return None if value is None else json_format.ParseDict(value, Artifact())

    base = document["base_directory"]
    return Inputs(
        imports=tuple(json_format.ParseDict(value, Artifact()) for value in document["imports"]),
        concepts=artifact(document["concepts"]),
        stage_imports=tuple(artifact(value) for value in document["stage_imports"]),
        validation=artifact(document["validation"]),
        base_directory=None if base is None else json_format.ParseDict(base, ArtifactSet()),
        optimization_train=artifact(document.get("optimization_train")),
        optimization_validation=artifact(document.get("optimization_validation")),
    )


def _json(message: Message | None) -> Any:
    return None if message is None else json_format.MessageToDict(message)
