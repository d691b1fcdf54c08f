"""Gemini on Vertex AI, or any server that speaks google.cloud.aiplatform.v1: GAPIC over gRPC, asynchronous.

Opened by `opening` and by `emulator`. One call is one attempt: no retry is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
import grpc.aio
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceAsyncClient
from google.cloud.aiplatform_v1.services.prediction_service.transports.grpc_asyncio import (
    PredictionServiceGrpcAsyncIOTransport,
)
from google.rpc import error_details_pb2

from stillhouse.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StillhouseError,
    Unavailable,
)
from stillhouse.teachers.teacher import Answer, Question
from stillhouse.teachers.vertex_access import (
    DEFAULT_LOCATION,
    LARGEST_ANSWER_BYTES,
    Credential,
    credential_for,
    endpoint_of,
    open_channel,
    project_for,
)
from stillhouse.teachers.vertex_messages import answer_of, request_of
from stillhouse.v1.teacher_pb2 import TeacherModel

_TOO_LARGE = "message larger than max"


class VertexTeacher:
    """One model at one endpoint."""

    slots: int | None = None

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        identity: str,
        resource: str,
        credential: Credential,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`resource` is the model's full name: projects/P/locations/L/publishers/google/models/M.

        `headers` go with every call, beside the credential's.
        """
        self.identity = identity
        self._resource = resource
        self._credential = credential
        self._headers = headers
        self._channel = channel
        self._client = PredictionServiceAsyncClient(transport=PredictionServiceGrpcAsyncIOTransport(channel=channel))

    async def ask(self, question: Question, *, deadline_seconds: float) -> Answer:
        """See Teacher."""
        request = request_of(question, self._resource)
        headers = [*await self._credential.headers(), *self._headers]
        try:
            response = await self._client.generate_content(
                request, retry=None, timeout=deadline_seconds, metadata=headers
            )
        except GoogleAPICallError as exc:
            raise self._error(exc, deadline_seconds) from exc
        return answer_of(response)

    async def close(self) -> None:
        """See Teacher."""
        await self._channel.close()

    def _error(self, error: GoogleAPICallError, deadline_seconds: float) -> StillhouseError:
        code = error.grpc_status_code
        text = f"{self.identity}: {error.message or code}"
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if _TOO_LARGE in (error.message or ""):
                return InvalidArgument(f"{text}: an answer may have {LARGEST_ANSWER_BYTES} bytes; ask for less")
            return ResourceExhausted(text, retry_after_seconds=_retry_after(error))
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{self.identity} did not answer within {deadline_seconds:g} s; allow more seconds")
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return PermissionDenied(f"{text}; {self._credential.remedy}")
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFound(f"{text}; there is no {self._resource}: correct model or location", field="model")
        if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
            return InvalidArgument(text)
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            return FailedPrecondition(text)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return FailedPrecondition(f"{text}; it serves no PredictionService: correct the endpoint")
        # UNAVAILABLE, INTERNAL, ABORTED, CANCELLED by the server, UNKNOWN: another call may do better.
        return Unavailable(text, retry_after_seconds=_retry_after(error))


async def open_vertex(
    model: TeacherModel,
    environ: Mapping[str, str],
    *,
    identity: str = "",
    headers: Sequence[tuple[str, str]] = (),
) -> VertexTeacher:
    """The teacher that `model` names; connects on the first question.

    `identity` replaces the usual one; `headers` go with every call.

    Raises PermissionDenied (no credential, and what to do), InvalidArgument (endpoint, project, model), NotFound
    (the file of an own authority).
    """
    if not model.model:
        raise InvalidArgument("no model is named; give one, for example gemini-2.5-flash", field="model")
    location = model.location or environ.get("GOOGLE_CLOUD_LOCATION") or DEFAULT_LOCATION
    endpoint = endpoint_of(model.endpoint, location)
    credential = await credential_for(endpoint, environ)
    project = project_for(model.project, credential, endpoint, environ)
    return VertexTeacher(
        open_channel(endpoint, environ),
        identity=identity or (f"vertex@{endpoint.host}:{model.model}" if endpoint.own else f"vertex:{model.model}"),
        resource=_resource(model.model, project, location),
        credential=credential,
        headers=headers,
    )


def _resource(model: str, project: str, location: str) -> str:
    """A full resource name, such as that of a tuned model's endpoint, is taken as it is."""
    if model.startswith("projects/"):
        return model
    publisher = model if model.startswith("publishers/") else f"publishers/google/models/{model}"
    return f"projects/{project}/locations/{location}/{publisher}"


def _retry_after(error: GoogleAPICallError) -> float | None:
    for detail in error.details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            return float(detail.retry_delay.ToMilliseconds()) / 1000
    return None
