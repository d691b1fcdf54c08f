"""Where a server listens, and what it refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from stillhouse.errors import InvalidArgument
from stillhouse.rpc.channel import open_channel
from stillhouse.rpc.config import ServerConfig, add_server_arguments, is_loopback


def test_the_default_is_plain_text_on_loopback() -> None:
    config = ServerConfig.from_env({})
    assert config == ServerConfig()
    assert (config.host, config.port, config.token) == ("127.0.0.1", 50051, None)
    config.check_exposure()


def test_everything_is_read_from_the_environment(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("swordfish\n")
    config = ServerConfig.from_env(
        {
            "STILLHOUSE_HOST": "0.0.0.0",
            "STILLHOUSE_PORT": "0",
            "STILLHOUSE_TLS_CERTIFICATE": "/c.pem",
            "STILLHOUSE_TLS_KEY": "/k.pem",
            "STILLHOUSE_TLS_CLIENT_CA": "/ca.pem",
            "STILLHOUSE_TOKEN_FILE": str(token),
            "STILLHOUSE_ALLOW_PLAINTEXT": "1",
            "STILLHOUSE_MAX_MESSAGE_BYTES": "1000",
            "STILLHOUSE_WORKERS": "3",
            "STILLHOUSE_DRAIN_SECONDS": "1.5",
        }
    )
    assert config == ServerConfig(
        host="0.0.0.0",
        port=0,
        tls_certificate=Path("/c.pem"),
        tls_key=Path("/k.pem"),
        tls_client_ca=Path("/ca.pem"),
        token="swordfish",
        allow_plaintext=True,
        max_message_bytes=1000,
        workers=3,
        drain_seconds=1.5,
    )


def test_the_token_is_not_in_the_configurations_text() -> None:
    assert "swordfish" not in repr(ServerConfig(token="swordfish"))


def test_flags_win_over_the_environment() -> None:
    parser = argparse.ArgumentParser()
    add_server_arguments(parser)
    config = ServerConfig(host="::1", port=1, workers=3).with_arguments(parser.parse_args(["--port", "0"]))
    assert (config.host, config.port, config.workers) == ("::1", 0, 3)
    assert not config.allow_plaintext


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"STILLHOUSE_PORT": "x"}, "STILLHOUSE_PORT=x"),
        ({"STILLHOUSE_PORT": "70000"}, "70000"),
        ({"STILLHOUSE_TLS_KEY": "/k"}, "STILLHOUSE_TLS_CERTIFICATE"),
        ({"STILLHOUSE_TLS_CLIENT_CA": "/ca"}, "client authority"),
        ({"STILLHOUSE_TOKEN": ""}, "STILLHOUSE_TOKEN"),
        ({"STILLHOUSE_TOKEN_FILE": "/absent"}, "STILLHOUSE_TOKEN_FILE=/absent"),
        ({"STILLHOUSE_ALLOW_PLAINTEXT": "perhaps"}, "STILLHOUSE_ALLOW_PLAINTEXT=perhaps"),
        ({"STILLHOUSE_WORKERS": "0"}, "workers"),
        ({"STILLHOUSE_DRAIN_SECONDS": "nan"}, "drain_seconds"),
    ],
)
def test_a_wrong_value_is_refused_and_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ServerConfig.from_env(environ)
    assert named in caught.value.message


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "trainer.svc"])
def test_plain_text_beyond_loopback_is_refused_with_the_remedy(host: str) -> None:
    with pytest.raises(InvalidArgument, match=f"refusing to serve plain text on {host}.*STILLHOUSE_TLS_CERTIFICATE"):
        ServerConfig(host=host).check_exposure()
    ServerConfig(host=host, allow_plaintext=True).check_exposure()
    ServerConfig(host=host, tls_certificate=Path("c"), tls_key=Path("k")).check_exposure()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("address", ["", "host", "host:", ":50051", "host:port"])
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        open_channel(address)


def test_a_token_is_not_sent_in_plain_text_beyond_loopback() -> None:
    with pytest.raises(InvalidArgument, match="refusing to send the token to host:1") as caught:
        open_channel("host:1", token="swordfish")
    assert "swordfish" not in caught.value.message
