"""Every step of a run with its key, its inputs and outputs. Called by `reading`; knows manifests, no stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.message import Message

from stillhouse.artifacts.references import artifacts_in
from stillhouse.report.facts import ArtifactFact, StageFact
from stillhouse.v1.artifact_pb2 import Artifact, Manifest


def stages_of(steps: Sequence[Mapping[str, str]], manifests: Mapping[str, Manifest]) -> tuple[StageFact, ...]:
    """The steps in their order; `manifests` is by the name of the step.

    An artifact's maker is the first step that put it out: a base that is exported and evaluated is one artifact.
    """
    makers: dict[str, str] = {}
    for step in steps:
        if (manifest := manifests.get(step["name"])) is not None:
            for artifact in artifacts_in(manifest.result):
                makers.setdefault(artifact.sha256, step["name"])
    return tuple(_stage(step, manifests.get(step["name"]), makers) for step in steps)


def made_at(manifest: Manifest) -> datetime:
    """When it was committed."""
    return manifest.create_time.ToDatetime(tzinfo=UTC)


def _stage(step: Mapping[str, str], manifest: Manifest | None, makers: Mapping[str, str]) -> StageFact:
    if manifest is None:
        return StageFact(
            step["name"], step["stage"], step["state"], step["message"], step["key"], None, None, "", 0, (), ()
        )
    return StageFact(
        name=step["name"],
        stage=step["stage"],
        state="done",
        message="",
        key=manifest.key,
        seconds=manifest.seconds,
        made_at=made_at(manifest),
        version=manifest.stillhouse_version,
        logic_version=manifest.logic_version,
        inputs=_artifacts(manifest.request, makers),
        outputs=_artifacts(manifest.result, {}),
    )


def _artifacts(message: Message, makers: Mapping[str, str]) -> tuple[ArtifactFact, ...]:
    """Each digest once, under the first name it has."""
    found: dict[str, Artifact] = {}
    for artifact in artifacts_in(message):
        found.setdefault(artifact.sha256, artifact)
    return tuple(
        ArtifactFact(one.name, one.sha256, one.size_bytes, makers.get(one.sha256, "")) for one in found.values()
    )
