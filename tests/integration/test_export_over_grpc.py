"""The exporter's servicer on a real server; the work itself is tested in test_export_gguf."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from stillhouse.artifacts.store import Store
from stillhouse.exporter.__main__ import operation
from stillhouse.exporter.servicer import ExporterServicer
from stillhouse.roles.role import load_role
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import ServerConfig, start_server
from stillhouse.stages import EXPORT
from stillhouse.v1 import exporter_pb2_grpc
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.exporter_pb2 import ExportRequest


@pytest.fixture
def stub() -> Iterator[exporter_pb2_grpc.ExporterServiceStub]:
    def add_services(server: grpc.Server) -> Sequence[str]:
        exporter_pb2_grpc.add_ExporterServiceServicer_to_server(ExporterServicer(operation()), server)
        return ["stillhouse.v1.ExporterService"]

    server = start_server(ServerConfig(port=0), add_services)
    with open_channel(server.address) as channel:
        yield exporter_pb2_grpc.ExporterServiceStub(channel)
    server.stop(0)


def test_the_stage_and_its_key_are_those_that_the_plan_uses() -> None:
    assert (operation().stage, operation().logic_version) == (EXPORT.name, EXPORT.logic_version)
    assert operation().module == "stillhouse.exporter"


def test_a_bad_request_fails_with_its_own_status(stub: exporter_pb2_grpc.ExporterServiceStub, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    request = ExportRequest(
        role=RoleReference(name="product_owner", version=load_role("product_owner").version),
        quantization="Q9_Z",
        store_uri=store.uri,
    )
    request.base.files.append(store.put_bytes(b"{}", name="config.json"))
    with pytest.raises(grpc.RpcError) as failure:
        list(stub.Export(request, timeout=300))
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "unknown quantization 'Q9_Z'" in failure.value.details()
