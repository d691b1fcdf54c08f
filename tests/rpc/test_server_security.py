"""Who is let in: bearer tokens, TLS with a self-made certificate, client certificates."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stillhouse.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.server import RunningServer, ServerConfig, start_server
from stillhouse.rpc.status import error_from_rpc
from stillhouse.v1 import scorer_pb2, scorer_pb2_grpc


class Scorer(scorer_pb2_grpc.ScorerServiceServicer):
    """Answers."""

    def Score(self, request, context):
        return scorer_pb2.ScoreResponse()

    def StreamScore(self, request_iterator, context):
        for _ in request_iterator:
            yield scorer_pb2.StreamScoreResponse()


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stillhouse")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Pair(folder / "certificate.pem", folder / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def add_services(server: grpc.Server) -> list[str]:
    scorer_pb2_grpc.add_ScorerServiceServicer_to_server(Scorer(), server)
    return ["stillhouse.v1.ScorerService"]


@pytest.fixture
def guarded() -> Iterator[RunningServer]:
    server = start_server(ServerConfig(port=0, token="swordfish"), add_services)
    yield server
    server.stop(0)


def score(channel: grpc.Channel) -> scorer_pb2.ScoreResponse:
    return scorer_pb2_grpc.ScorerServiceStub(channel).Score(scorer_pb2.ScoreRequest(), timeout=10)


def test_the_right_token_is_let_in(guarded: RunningServer) -> None:
    with open_channel(guarded.address, token="swordfish") as channel:
        assert score(channel) == scorer_pb2.ScoreResponse()
        requests = iter([scorer_pb2.StreamScoreRequest()] * 3)
        assert len(list(scorer_pb2_grpc.ScorerServiceStub(channel).StreamScore(requests, timeout=10))) == 3


@pytest.mark.parametrize("token", [None, "wrong", "swordfish2", "swordfis"])
def test_another_token_is_unauthenticated(guarded: RunningServer, token: str | None) -> None:
    with open_channel(guarded.address, token=token) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            score(channel)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert type(error_from_rpc(caught.value, address=guarded.address)) is PermissionDenied
        requests = iter([scorer_pb2.StreamScoreRequest()])
        with pytest.raises(grpc.RpcError) as caught:
            list(scorer_pb2_grpc.ScorerServiceStub(channel).StreamScore(requests, timeout=10))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_probes_need_no_token(guarded: RunningServer) -> None:
    with open_channel(guarded.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_tls_serves_who_trusts_the_certificate(pair: Pair) -> None:
    config = ServerConfig(port=0, tls_certificate=pair.certificate, tls_key=pair.key, token="swordfish")
    server = start_server(config, add_services)
    try:
        with open_channel(server.address, ca=pair.certificate, token="swordfish") as channel:
            assert score(channel) == scorer_pb2.ScoreResponse()
        with open_channel(server.address) as plain, pytest.raises(grpc.RpcError) as caught:
            score(plain)
        assert type(error_from_rpc(caught.value, address=server.address)) is Unavailable
    finally:
        server.stop(0)


def test_client_certificates_are_demanded_where_an_authority_is_named(pair: Pair) -> None:
    config = ServerConfig(port=0, tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=pair.certificate)
    server = start_server(config, add_services)
    try:
        with open_channel(server.address, ca=pair.certificate, certificate=pair.certificate, key=pair.key) as channel:
            assert score(channel) == scorer_pb2.ScoreResponse()
        with open_channel(server.address, ca=pair.certificate) as nameless, pytest.raises(grpc.RpcError):
            score(nameless)
    finally:
        server.stop(0)


def test_plain_text_beyond_loopback_is_not_served() -> None:
    with pytest.raises(InvalidArgument, match=r"refusing to serve plain text on 0\.0\.0\.0"):
        start_server(ServerConfig(host="0.0.0.0", port=0), add_services)


def test_plain_text_beyond_loopback_is_served_where_it_is_asked_for() -> None:
    server = start_server(ServerConfig(host="0.0.0.0", port=0, allow_plaintext=True), add_services)
    server.stop(0)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    config = ServerConfig(port=0, tls_certificate=tmp_path / "absent.pem", tls_key=tmp_path / "absent.pem")
    with pytest.raises(NotFound, match=r"absent\.pem"):
        start_server(config, add_services)
    with pytest.raises(NotFound, match=r"absent\.pem"):
        open_channel("127.0.0.1:1", ca=tmp_path / "absent.pem")


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    config = ServerConfig(port=0, tls_certificate=tmp_path / "rubbish.pem", tls_key=tmp_path / "rubbish.pem")
    with pytest.raises(FailedPrecondition, match=r"rubbish\.pem are no PEM of a pair"):
        start_server(config, add_services)
