"""Where Vertex AI, or a server that speaks its protos, is, and what lets a call in: channel, project and credential.

Called by `vertex` only. It must not know questions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import grpc
import grpc.aio

from stillhouse.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable

TOKEN_VARIABLE = "STILLHOUSE_VERTEX_TOKEN"  # noqa: S105 - its name, not a token
CA_VARIABLE = "STILLHOUSE_VERTEX_CA"
PROJECT_VARIABLE = "GOOGLE_CLOUD_PROJECT"
DEFAULT_LOCATION = "us-central1"
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOG_IN = (
    "run `gcloud auth application-default login`, name a service account's file in GOOGLE_APPLICATION_CREDENTIALS, "
    "or use workload identity"
)
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ROOTS = ("grpc._cython", "_credentials/roots.pem")


@dataclass(frozen=True)
class Endpoint:
    """Where calls go."""

    host: str
    port: int
    tls: bool
    own: bool
    """It was named by the user, and is not derived from the location."""

    @property
    def address(self) -> str:
        """host:port, for gRPC."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint_of(url: str, location: str) -> Endpoint:
    """The endpoint that `url` names, or the location's.

    Raises InvalidArgument for what is no http or https URL, and for what is no location's name.
    """
    if not url:
        # It becomes part of the host that the credential goes to.
        if not _LOCATION.fullmatch(location):
            raise InvalidArgument(
                f"{location!r} is no location of Vertex AI; give a region, as us-central1, or global", field="location"
            )
        host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
        return Endpoint(host, 443, tls=True, own=False)
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _bad_endpoint(url) from exc
    if parts.scheme not in ("http", "https") or not name or parts.path.strip("/") or parts.query or parts.username:
        raise _bad_endpoint(url)
    tls = parts.scheme == "https"
    return Endpoint(name, port or (443 if tls else 80), tls=tls, own=True)


def open_channel(endpoint: Endpoint, environ: Mapping[str, str]) -> grpc.aio.Channel:
    """A channel that takes answers of up to 16 MiB; it connects on the first call.

    STILLHOUSE_VERTEX_CA names a PEM file of an authority that is trusted besides the usual ones. Raises NotFound if it
    can't be read.
    """
    options = [
        ("grpc.max_receive_message_length", LARGEST_ANSWER_BYTES),
        ("grpc.max_send_message_length", -1),
        # Retries are made in one layer, above the teacher.
        ("grpc.enable_retries", 0),
        # A server that came back is found soon, not after gRPC's two minutes.
        ("grpc.max_reconnect_backoff_ms", 5000),
    ]
    if not endpoint.tls:
        return grpc.aio.insecure_channel(endpoint.address, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=_roots(environ.get(CA_VARIABLE)))
    return grpc.aio.secure_channel(endpoint.address, credentials, options=options)


class Credential(Protocol):
    """What goes with a call to be let in."""

    remedy: str
    """What to do when a server refuses it."""
    project: str | None
    """The project that it belongs to, where it says so."""

    async def headers(self) -> list[tuple[str, str]]:
        """Metadata of one call. Raises PermissionDenied that says what to do, or Unavailable."""
        ...


class NoCredential:
    """For plain text."""

    remedy = "the server wants a credential: give its https:// address"
    project: str | None = None

    async def headers(self) -> list[tuple[str, str]]:
        """None."""
        return []


class TokenCredential:
    """A bearer token as it is, for any server."""

    remedy = f"put a token that is valid now into {TOKEN_VARIABLE}, or unset it to use application default credentials"
    project: str | None = None

    def __init__(self, token: str) -> None:
        """`token` is what follows `Bearer`."""
        self._headers = [("authorization", f"Bearer {token}")]

    async def headers(self) -> list[tuple[str, str]]:
        """The token."""
        return self._headers


class DefaultCredential:
    """Application default credentials: a user's, a service account's file, or workload identity.

    Refreshed here and not by gRPC, to which a credential that can't be refreshed is a server that can't be reached.
    """

    remedy = f"{_LOG_IN}; the account needs the role roles/aiplatform.user in the project"

    def __init__(self) -> None:
        """Looks for them where google.auth.default does; may ask a metadata server. Raises PermissionDenied."""
        try:
            self._credentials, self.project = _default_credentials()
        except google.auth.exceptions.DefaultCredentialsError as exc:
            raise PermissionDenied(f"no Google credential is found ({_first_line(exc)}); {_LOG_IN}") from exc
        self._request = google.auth.transport.requests.Request()
        self._refreshing = asyncio.Lock()

    async def headers(self) -> list[tuple[str, str]]:
        """Token and quota project; refreshes the token when it is about to expire."""
        if not self._credentials.valid:
            async with self._refreshing:
                if not self._credentials.valid:
                    await asyncio.to_thread(self._refresh)
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return [(name.lower(), value) for name, value in headers.items()]

    def _refresh(self) -> None:
        try:
            self._credentials.refresh(self._request)
        except google.auth.exceptions.TransportError as exc:
            raise Unavailable(f"the Google credential can't be refreshed now: {_first_line(exc)}") from exc
        except google.auth.exceptions.GoogleAuthError as exc:
            if exc.retryable:
                raise Unavailable(f"the Google credential can't be refreshed now: {_first_line(exc)}") from exc
            raise PermissionDenied(
                f"the Google credential is refused or expired ({_first_line(exc)}); {_LOG_IN}"
            ) from exc


async def credential_for(endpoint: Endpoint, environ: Mapping[str, str]) -> Credential:
    """None for plain text, else the token of STILLHOUSE_VERTEX_TOKEN, else application default credentials."""
    if not endpoint.tls:
        return NoCredential()
    token = environ.get(TOKEN_VARIABLE)
    return TokenCredential(token) if token else await asyncio.to_thread(DefaultCredential)


def project_for(named: str, credential: Credential, endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    """The named project, else GOOGLE_CLOUD_PROJECT, else the credential's; a server of one's own needs none.

    Raises InvalidArgument where Google's endpoint is called without one.
    """
    project = named or environ.get(PROJECT_VARIABLE) or credential.project
    if project:
        return project
    if endpoint.own:
        return "local"
    raise InvalidArgument(
        f"no Google Cloud project is named; set {PROJECT_VARIABLE} or the teacher's project", field="project"
    )


def _default_credentials() -> tuple[Any, str | None]:
    credentials, project = google.auth.default(scopes=[_SCOPE])
    return credentials, project


def _roots(ca: str | None) -> bytes | None:
    if not ca:
        return None
    try:
        extra = Path(ca).read_bytes()
    except OSError as exc:
        raise NotFound(f"{CA_VARIABLE}={ca} can't be read: {exc.strerror}; name a PEM file", field=CA_VARIABLE) from exc
    package, name = _ROOTS
    return files(package).joinpath(name).read_bytes() + b"\n" + extra


def _bad_endpoint(url: str) -> InvalidArgument:
    return InvalidArgument(f"the endpoint {url!r} is no http://HOST:PORT or https://HOST[:PORT]", field="endpoint")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
