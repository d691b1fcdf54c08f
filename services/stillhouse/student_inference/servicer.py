"""Translates StudentInferenceService's messages into questions for the engine, and pieces of answers back.

Wired by `__main__`; errors travel as exceptions to the server's interceptor. It must not know llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os.path import commonprefix

import grpc

from stillhouse.errors import InvalidArgument, Unavailable
from stillhouse.roles.role import Message, load_role
from stillhouse.student_inference import constraint as constraints
from stillhouse.student_inference.admission import Stop
from stillhouse.student_inference.completion import Piece, Question
from stillhouse.student_inference.constraint import Constraint
from stillhouse.student_inference.engine import Engine
from stillhouse.student_inference.model_file import ModelFile
from stillhouse.student_inference.sampling import Sampling
from stillhouse.v1 import artifact_pb2, student_inference_pb2, student_inference_pb2_grpc

MAX_PROMPT_BYTES = 1 << 20
MAX_MESSAGES = 256
_CHAT_ROLES = ("system", "user", "assistant")
_FINISH_REASONS = {
    "stop": student_inference_pb2.FINISH_REASON_STOP,
    "length": student_inference_pb2.FINISH_REASON_LENGTH,
}


class StudentServicer(student_inference_pb2_grpc.StudentInferenceServiceServicer):
    """Answers UNAVAILABLE until `attach` gives it a loaded engine."""

    def __init__(self, model: ModelFile) -> None:
        """`model` is what will be served."""
        self._model = model
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """From now on requests are answered."""
        self._engine = engine

    def Generate(  # noqa: N802 - the RPC's name
        self, request: student_inference_pb2.GenerateRequest, context: grpc.ServicerContext
    ) -> student_inference_pb2.GenerateResponse:
        """One answer. It is streamed inside, because llama.cpp cannot cancel what it does not stream."""
        pieces = list(self._pieces(request, context))
        return student_inference_pb2.GenerateResponse(
            text="".join(piece.text for piece in pieces),
            finish_reason=_FINISH_REASONS.get(pieces[-1].finish, student_inference_pb2.FINISH_REASON_UNSPECIFIED),
            usage=_usage(pieces[-1]),
            model_sha256=self._model.sha256,
        )

    def StreamGenerate(  # noqa: N802
        self, request: student_inference_pb2.StreamGenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[student_inference_pb2.StreamGenerateResponse]:
        """The same, in pieces."""
        for piece in self._pieces(request.request, context):
            yield student_inference_pb2.StreamGenerateResponse(
                text=piece.text,
                finish_reason=_FINISH_REASONS.get(piece.finish, student_inference_pb2.FINISH_REASON_UNSPECIFIED),
                usage=_usage(piece),
                model_sha256=self._model.sha256 if piece.finish else "",
            )

    def GetModelInfo(  # noqa: N802
        self,
        request: student_inference_pb2.GetModelInfoRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> student_inference_pb2.GetModelInfoResponse:
        """What is being served."""
        facts = self._loaded().facts
        return student_inference_pb2.GetModelInfoResponse(
            model=artifact_pb2.Artifact(
                name=self._model.path.name, sha256=self._model.sha256, size_bytes=self._model.size_bytes
            ),
            model_name=facts.name,
            slots=facts.slots,
            context_tokens=facts.context_tokens,
            parameters=facts.parameters,
            quantization=facts.quantization,
            chat_template=facts.chat_template,
            gpu_layers=facts.gpu_layers,
            llama_cpp_version=facts.llama_cpp_version,
        )

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise Unavailable(f"the model {self._model.path.name} is still loading", retry_after_seconds=1.0)
        return self._engine

    def _pieces(self, request: student_inference_pb2.GenerateRequest, context: grpc.ServicerContext) -> Iterator[Piece]:
        engine = self._loaded()
        stop = Stop(deadline_seconds=context.time_remaining())
        if not context.add_callback(stop.cancel):
            stop.cancel()
        prompt, shared = _prompt(engine, request)
        question = Question(
            prompt=prompt,
            sampling=_sampling(request.sampling),
            constraint=_constraint(request.constraint),
            cache_prompt=request.cache_prompt if request.HasField("cache_prompt") else True,
            shared=shared,
        )
        yield from engine.stream(question, stop)


def _usage(piece: Piece) -> student_inference_pb2.Usage | None:
    usage = piece.usage
    if usage is None:
        return None
    return student_inference_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        queue_seconds=usage.queue_seconds,
        prompt_seconds=usage.prompt_seconds,
        completion_seconds=usage.completion_seconds,
    )


def _prompt(engine: Engine, request: student_inference_pb2.GenerateRequest) -> tuple[str, str]:
    """The prompt, and what it shares with others to come."""
    kind = request.WhichOneof("prompt")
    if kind == "chat":
        messages = _messages(request.chat)
        prompt = engine.render(messages)
        return prompt, _shared(engine, messages, prompt) if request.shared_prefix and engine.shares else ""
    if request.shared_prefix:
        raise InvalidArgument("only chat messages have a shared prefix", field="shared_prefix")
    if kind == "text":
        if not request.text:
            raise InvalidArgument("text is empty; a prompt has at least one character", field="text")
        _check_size("text", request.text)
        return request.text, ""
    if kind == "role_inputs":
        inputs = _inputs("role_inputs", request.role_inputs)
        return engine.render(load_role(request.role_inputs.role).messages(inputs)), ""
    raise InvalidArgument("the request has no prompt: set role_inputs, chat or text", field="prompt")


def _shared(engine: Engine, messages: Sequence[Message], prompt: str) -> str:
    *others, last = messages
    try:
        other = engine.render([*others, Message(last.role, "")])
        return commonprefix([prompt, other])  # noqa: RUF071 - of text, no path
    except InvalidArgument:  # a template that takes no empty message
        return ""


def _messages(chat: student_inference_pb2.ChatMessages) -> list[Message]:
    messages = [Message(message.role, message.content) for message in chat.messages]
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise InvalidArgument(f"chat has {len(messages)} messages; 1 to {MAX_MESSAGES} are taken", field="chat")
    for place, message in enumerate(messages):
        if message.role not in _CHAT_ROLES:
            raise InvalidArgument(
                f"chat.messages[{place}] has the role {message.role!r}; roles are {', '.join(_CHAT_ROLES)}",
                field=f"chat.messages[{place}].role",
            )
    if messages[-1].role == "assistant":
        raise InvalidArgument("the last chat message is the assistant's; nothing is left to answer", field="chat")
    _check_size("chat", "".join(message.content for message in messages))
    return messages


def _inputs(field: str, message: student_inference_pb2.RoleInputs) -> Mapping[str, str]:
    inputs = dict(message.inputs)
    _check_size(field, "".join(inputs.values()))
    return inputs


def _check_size(field: str, text: str) -> None:
    if len(text.encode()) > MAX_PROMPT_BYTES:
        raise InvalidArgument(f"{field} has more than {MAX_PROMPT_BYTES} bytes", field=field)


def _sampling(message: student_inference_pb2.SamplingParameters) -> Sampling:
    given = {field.name: value for field, value in message.ListFields() if field.name != "stop"}
    return Sampling(stop=tuple(message.stop), **given)


def _constraint(message: student_inference_pb2.Constraint) -> Constraint | None:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "role_grammar":
        inputs = _inputs("constraint.role_grammar", message.role_grammar)
        return constraints.role_grammar(message.role_grammar.role, inputs)
    if kind == "json_schema":
        return constraints.json_schema(message.json_schema)
    if kind == "regex":
        return constraints.regex(message.regex)
    return constraints.grammar(message.grammar)
