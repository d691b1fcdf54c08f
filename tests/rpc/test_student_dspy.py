"""DSPy programs that a served student answers. The student is scripted; server, channel and DSPy are real."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from stillhouse.errors import Unavailable
from stillhouse.rpc.server import ServerConfig, start_server
from stillhouse.v1 import artifact_pb2, student_inference_pb2_grpc
from stillhouse.v1 import student_inference_pb2 as pb

SHA256 = "ab" * 32
ANSWER = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"


class ScriptedStudent(student_inference_pb2_grpc.StudentInferenceServiceServicer):
    """Says one text, keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[pb.GenerateRequest] = []
        self.text = ANSWER
        self.sha256 = SHA256
        self.finish = pb.FINISH_REASON_STOP
        self.gone = threading.Event()

    def Generate(self, request: pb.GenerateRequest, context: grpc.ServicerContext) -> pb.GenerateResponse:
        self.asked.append(request)
        if self.text == "wait":
            context.add_callback(self.gone.set)
            self.gone.wait(20)
        usage = pb.Usage(prompt_tokens=11, completion_tokens=7, cached_tokens=3)
        return pb.GenerateResponse(text=self.text, finish_reason=self.finish, usage=usage, model_sha256=self.sha256)

    def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamGenerateResponse]:
        for word in self.text.split(" "):
            yield pb.StreamGenerateResponse(text=word)
        yield pb.StreamGenerateResponse(finish_reason=self.finish, model_sha256=self.sha256)

    def GetModelInfo(self, request: pb.GetModelInfoRequest, context: grpc.ServicerContext) -> pb.GetModelInfoResponse:
        return pb.GetModelInfoResponse(model=artifact_pb2.Artifact(sha256=self.sha256))


@pytest.fixture
def student() -> ScriptedStudent:
    return ScriptedStudent()


@pytest.fixture
def address(student: ScriptedStudent) -> Iterator[str]:
    def add(server: grpc.Server) -> list[str]:
        student_inference_pb2_grpc.add_StudentInferenceServiceServicer_to_server(student, server)
        return ["stillhouse.v1.StudentInferenceService"]

    server = start_server(ServerConfig(port=0), add)
    yield server.address
    server.stop(0)


def test_a_program_is_answered_by_the_student(student: ScriptedStudent, address: str) -> None:
    import dspy

    from stillhouse.client.dspy import student_lm

    lm = student_lm(address, temperature=0.5, max_tokens=50, cache=False)
    assert lm.model == f"stillhouse/sha256:{SHA256}"
    with dspy.context(lm=lm):
        found = dspy.Predict("question -> answer")(question="The capital of France?")
    assert found.answer == "Paris"
    (asked,) = student.asked
    roles = [message.role for message in asked.chat.messages]
    assert roles == ["system", "user"]
    assert "The capital of France?" in asked.chat.messages[-1].content
    assert (asked.sampling.temperature, asked.sampling.max_tokens) == (0.5, 50)
    assert lm.history[-1]["usage"]["prompt_tokens"] == 11


def test_a_program_is_answered_asynchronously(student: ScriptedStudent, address: str) -> None:
    import dspy

    from stillhouse.client.dspy import student_lm

    async def ask() -> str:
        with dspy.context(lm=student_lm(address, cache=False)):
            found = await dspy.Predict("question -> answer").acall(question="Where?")
            return str(found.answer)

    assert asyncio.run(ask()) == "Paris"


def test_a_schema_becomes_a_constraint(student: ScriptedStudent, address: str) -> None:
    import dspy

    from stillhouse.client.dspy import student_lm

    student.text = '{"answer": "Paris"}'
    with dspy.context(lm=student_lm(address, cache=False), adapter=dspy.JSONAdapter()):
        assert dspy.Predict("question -> answer")(question="Where?").answer == "Paris"
    schema = json.loads(student.asked[0].constraint.json_schema)
    assert "answer" in schema["properties"]


def test_another_student_behind_the_address_is_refused(student: ScriptedStudent, address: str) -> None:
    import dspy

    from stillhouse.client.dspy import student_lm

    lm = student_lm(address, cache=False, num_retries=0)
    student.sha256 = "cd" * 32
    with dspy.context(lm=lm), pytest.raises(dspy.LMInvalidRequestError, match="now serves"):
        dspy.Predict("question -> answer")(question="Where?")


def test_a_language_model_is_saved_and_loaded(student: ScriptedStudent, address: str, tmp_path: Path) -> None:
    import dspy

    from stillhouse.client.dspy import student_lm

    program = dspy.Predict("question -> answer")
    program.lm = student_lm(address, cache=False)
    program.save(tmp_path / "program.json")
    assert address in (tmp_path / "program.json").read_text()
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    assert loaded(question="Where?").answer == "Paris"


def test_what_a_student_cannot_do_is_refused_before_it_is_asked(student: ScriptedStudent, address: str) -> None:
    from dspy import lm15

    from stillhouse.client.dspy import StudentEngine
    from stillhouse.client.student import StudentClient

    with StudentClient(address) as client:
        engine = StudentEngine(client, model_sha256=SHA256, deadline_seconds=10)
        asked = (lm15.Message.user("Hi"),)
        tool = lm15.FunctionTool(name="look")
        for request in (
            lm15.Request(model="m", messages=asked, tools=(tool,)),
            lm15.Request(model="m", messages=asked, config=lm15.Config(logprobs=1)),
            lm15.Request(model="m", messages=asked, config=lm15.Config(extensions={"mirostat": 1})),
            lm15.Request(model="m", messages=(lm15.Message.user([lm15.ImagePart(url="http://x/y.png")]),)),
        ):
            with pytest.raises(lm15.UnsupportedFeatureError):
                engine.complete(request)
    assert student.asked == []


def test_events_of_a_stream_carry_the_answer(student: ScriptedStudent, address: str) -> None:
    from dspy import lm15

    from stillhouse.client.dspy import StudentEngine
    from stillhouse.client.student import StudentClient

    student.text = "so it goes"
    with StudentClient(address) as client:
        engine = StudentEngine(client, model_sha256=SHA256, deadline_seconds=10)
        first, *middle, last = engine.stream(lm15.Request(model="m", messages=(lm15.Message.user("Hi"),)))
    assert (first.type, last.type) == ("start", "end")
    assert [event.delta.text for event in middle] == ["so", "it", "goes"]


def test_cancelling_the_task_cancels_the_request(student: ScriptedStudent, address: str) -> None:
    from stillhouse.client.student import StudentClient

    student.text = "wait"

    async def ask() -> None:
        with StudentClient(address) as client:
            task = asyncio.create_task(client.generate_async("Hi"))
            while not student.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(ask())
    assert student.gone.wait(10)


def test_a_student_that_is_away_is_unavailable(address: str) -> None:
    from stillhouse.client.dspy import student_lm

    with pytest.raises(Unavailable):
        student_lm("127.0.0.1:1")
