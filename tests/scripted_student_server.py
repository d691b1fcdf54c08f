"""A student server for tests of whoever asks one: a real gRPC server on localhost that answers from a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc

from stillhouse.roles.role import load_role
from stillhouse.rpc.server import RunningServer, ServerConfig, start_server
from stillhouse.v1 import student_inference_pb2 as pb
from stillhouse.v1 import student_inference_pb2_grpc

MODEL = "ab" * 32
NAME = pb.DESCRIPTOR.services_by_name["StudentInferenceService"].full_name


class ScriptedServicer(student_inference_pb2_grpc.StudentInferenceServiceServicer):
    """Answers what `script` makes of the last message's text, and keeps the requests."""

    def __init__(self, script: Callable[[str], str], *, model: str = MODEL, slots: int = 1) -> None:
        self.script = script
        self.model = model
        self.slots = slots
        self.requests: list[pb.GenerateRequest] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()

    def Generate(self, request: pb.GenerateRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:
        with self._lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            text = self.script(prompt_text(request))
        finally:
            with self._lock:
                self.in_flight -= 1
        return pb.GenerateResponse(
            text=text, finish_reason=pb.FINISH_REASON_STOP, usage=usage(text), model_sha256=self.model
        )

    def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamGenerateResponse]:
        self.requests.append(request.request)
        text = self.script(prompt_text(request.request))
        for start in range(0, len(text), 40):
            yield pb.StreamGenerateResponse(text=text[start : start + 40])
        yield pb.StreamGenerateResponse(finish_reason=pb.FINISH_REASON_STOP, usage=usage(text), model_sha256=self.model)

    def GetModelInfo(self, request: pb.GetModelInfoRequest, context: grpc.ServicerContext) -> pb.GetModelInfoResponse:
        response = pb.GetModelInfoResponse(model_name="scripted", slots=self.slots, context_tokens=4096)
        response.model.sha256 = self.model
        return response


def prompt_text(request: pb.GenerateRequest) -> str:
    if request.WhichOneof("prompt") == "role_inputs":
        return load_role(request.role_inputs.role).messages(dict(request.role_inputs.inputs))[-1].content
    return request.chat.messages[-1].content


def usage(text: str) -> pb.Usage:
    return pb.Usage(prompt_tokens=10, completion_tokens=len(text) // 4)


def author_script(count: int) -> tuple[list[Mapping[str, str]], Callable[[str], str]]:
    """Inputs of different concepts, and a script that answers them well."""
    role = load_role("product_owner")
    inputs = [{"concept": f"A diary for {who}", "requirements_yaml": REQUIREMENTS} for who in READERS[:count]]
    answers = {role.messages(each)[-1].content: role.answer_text(OUTPUTS) for each in inputs}
    return list(inputs), answers.__getitem__


READERS = ("gardeners", "sailors", "teachers", "bakers", "painters")
REQUIREMENTS = """\
functional_requirements:
- id: FR001
  description: Write a page for every day of the year
  priority: High
non_functional_requirements:
- id: NFR001
  description: Open within one second
  priority: Low
constraints:
- id: C001
  description: Keep every page on the own telephone
  priority: High
"""
OUTPUTS = {
    "product_vision": """\
product_name: Day Pages
product_summary: A diary that opens at once, holds one page a day and keeps each of them on the telephone of its owner,
  where nobody else can read what was written.
target_users:
- People who write in the evening
- People who look things up years later
value_proposition:
- A page is never more than a second away
- What is written stays with its writer
key_capabilities:
- One page for each day
- Search over all the years
non_goals:
- Sharing pages with others
success_metrics:
- Nine of ten pages open within a second
- Half of the writers come back after a month
last_updated: "2025-11-03"
""",
    "product_owner_review": """\
status: needs_adjustment
summary:
- The vision serves everyday writing and covers storage on the telephone.
- Opening speed is named as a measure.
requirements_alignment:
  aligned:
  - "FR001: one page for each day is a capability"
  - "NFR001: the success metrics name the second"
  - "C001: pages stay on the own telephone"
  gaps:
  - Nothing says what happens when the telephone is lost.
  conflicts: []
recommended_actions:
- Decide how pages move to a new telephone.
- Measure the opening time on an old telephone.
narrative: The vision and the requirements describe the same diary. What is missing is a word on losing the telephone,
  since pages live nowhere else, and a measurement of the opening time on slow devices before the first release.
""",
}


@contextmanager
def served(servicer: ScriptedServicer, config: ServerConfig | None = None) -> Iterator[RunningServer]:
    def add_services(server: grpc.Server) -> list[str]:
        student_inference_pb2_grpc.add_StudentInferenceServiceServicer_to_server(servicer, server)
        return [NAME]

    server = start_server(config or ServerConfig(port=0), add_services)
    try:
        yield server
    finally:
        server.stop(0)


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    import subprocess

    certificate, key = folder / "server.pem", folder / "server.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        check=True,
        capture_output=True,
    )
    return certificate, key
