"""Which artifacts a message names."""

from __future__ import annotations

from stillhouse.artifacts.references import artifacts_in
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet, Manifest
from stillhouse.v1.dataset_builder_pb2 import BuildDatasetRequest, DatasetImport
from stillhouse.v1.trainer_pb2 import TrainResult


def artifact(letter: str) -> Artifact:
    return Artifact(name=f"{letter}.bin", sha256=letter * 64)


def test_artifacts_are_found_in_fields_lists_and_sets() -> None:
    result = TrainResult(adapter=ArtifactSet(files=[artifact("a"), artifact("b")]), loss_curve=artifact("c"))
    assert [found.name for found in artifacts_in(result)] == ["a.bin", "b.bin", "c.bin"]


def test_artifacts_are_found_inside_any() -> None:
    manifest = Manifest()
    manifest.request.Pack(BuildDatasetRequest(imports=[DatasetImport(rows=artifact("a"))]))
    manifest.result.Pack(TrainResult(loss_curve=artifact("c")))
    assert [found.name for found in artifacts_in(manifest)] == ["a.bin", "c.bin"]


def test_an_artifact_without_a_digest_is_none() -> None:
    assert list(artifacts_in(TrainResult(loss_curve=Artifact(name="x")))) == []


def test_an_artifact_names_itself() -> None:
    assert list(artifacts_in(artifact("a"))) == [artifact("a")]
