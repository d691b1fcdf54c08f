from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.artifacts.store import Store
from stillhouse.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from stillhouse.exporter.config import ExporterConfig
from stillhouse.exporter.export import require_disk, run_export
from stillhouse.roles.role import load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.exporter_pb2 import ExportRequest

ROLE = RoleReference(name="product_owner", version=load_role("product_owner").version)
ABSENT = ArtifactSet(files=[Artifact(name="model.safetensors", sha256="0" * 64, size_bytes=1)])


def _run(folder: Path, request: ExportRequest) -> None:
    workspace = folder / "workspace"
    workspace.mkdir()
    context = JobContext(Store.open(str(folder / "store")), "0" * 64, workspace)
    run_export(context, request, ExporterConfig(cache_directory=folder / "cache"))


def test_an_unknown_quantization_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Q9_Z"):
        _run(tmp_path, ExportRequest(role=ROLE, base=ABSENT, quantization="Q9_Z"))


def test_a_request_without_a_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="PrepareBase") as failure:
        _run(tmp_path, ExportRequest(role=ROLE))
    assert failure.value.field == "base"


def test_another_version_of_the_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="version 999 of role 'product_owner'"):
        _run(tmp_path, ExportRequest(role=RoleReference(name="product_owner", version=999), base=ABSENT))


def test_a_disk_that_is_too_small_is_named_with_the_bytes(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match="1,000,000,000,000,000,000 bytes in"):
        require_disk(tmp_path, 10**18, "converting")
