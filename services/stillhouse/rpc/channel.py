"""Channels to our servers: TLS, token, retries of what could not be delivered. Called by clients.

It must not know any service. Deadlines are the caller's, a `timeout=` on every call: a service config's is not sent on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from stillhouse.errors import InvalidArgument, NotFound
from stillhouse.rpc.config import DEFAULT_MESSAGE_BYTES, is_loopback
from stillhouse.rpc.traced_calls import begin_call
from stillhouse.rpc.tracing import is_tracing, trace_parent

_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def open_channel(
    address: str,
    *,
    token: str | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    retries: bool = True,
) -> grpc.Channel:
    """A channel to host:port; it connects on the first call.

    A call that reaches no method is tried 4 times in all, without `retries` once.

    `ca` (PEM of the authority, or the server's own certificate) switches TLS on. `certificate` and `key` are the
    client's own. A token goes out in plain text to loopback only. Raises InvalidArgument or NotFound.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidArgument(f"{address!r} is no HOST:PORT", field="address")
    secure = ca is not None or certificate is not None
    if token is not None and not secure and not is_loopback(host):
        raise InvalidArgument(f"refusing to send the token to {address} in plain text; give a CA", field="ca")
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", DEFAULT_MESSAGE_BYTES),
        ("grpc.max_send_message_length", DEFAULT_MESSAGE_BYTES),
        ("grpc.enable_retries", int(retries)),
        ("grpc.service_config", json.dumps(_RETRIES)),
    ]
    if secure:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_pem(ca), private_key=_pem(key), certificate_chain=_pem(certificate)
        )
        channel = grpc.secure_channel(address, credentials, options=options)
    else:
        channel = grpc.insecure_channel(address, options=options)
    if token is None and not (is_tracing() or trace_parent()):
        return channel
    return grpc.intercept_channel(channel, _Headers(token))


class _Details(NamedTuple):
    """A call's details; grpc.ClientCallDetails has no constructor."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Headers(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token and the trace to every call, which is a span where spans are sent.

    Call credentials would add the token too, but not on a plain text channel to loopback.
    """

    def __init__(self, token: str | None) -> None:
        self._headers = [("authorization", f"Bearer {token}")] if token is not None else []

    def _call(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), *self._headers]
        done = begin_call(details.method, metadata)
        named = _Details(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
        call = continuation(named, request)
        call.add_done_callback(done)
        return call

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See the class."""
        return self._call(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See the class."""
        return self._call(continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """See the class."""
        return self._call(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """See the class."""
        return self._call(continuation, client_call_details, request_iterator)


def _pem(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as exc:
        raise NotFound(f"{path} can't be read: {exc.strerror}; name a PEM file") from exc
