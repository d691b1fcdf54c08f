"""llama.cpp in this process: loads one model, answers prompts in pieces, frees a slot when its caller goes away.

Called by the servicer. Knows no grpc. One engine a process: llama.cpp's backend is torn down with the first server
that goes.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import xllamacpp

from stillhouse.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, StillhouseError, Unavailable
from stillhouse.roles.role import Message
from stillhouse.student_inference.admission import Admission, Stop
from stillhouse.student_inference.alphabet import Alphabet
from stillhouse.student_inference.config import EngineConfig
from stillhouse.student_inference.constraint import PROBE_ANSWER, Constraint
from stillhouse.student_inference.gguf_header import GgufHeader, read_header
from stillhouse.student_inference.hardware import requested_layers
from stillhouse.student_inference.listener import Listener
from stillhouse.student_inference.llama import slot_folder, start_llama
from stillhouse.student_inference.model_file import ModelFile
from stillhouse.student_inference.sampling import Sampling
from stillhouse.student_inference.shared_prefixes import SharedPrefixes

_log = structlog.get_logger("stillhouse.student_inference")
_POLL_SECONDS = 0.25
_PROBES_REMEMBERED = 1024
_LONGEST_JSON_TOKEN = 6
"""Characters of `\\u00e9`, in the middle of which an answer may break off."""


@dataclass(frozen=True)
class Question:
    """One generation: a rendered prompt, how to sample, what to hold the answer to."""

    prompt: str
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    cache_prompt: bool = True
    shared: str = ""
    """What many prompts to come begin with, this one too."""


@dataclass(frozen=True)
class Usage:
    """What an answer took. `prompt_tokens` includes `cached_tokens`; times in seconds."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prompt_seconds: float
    completion_seconds: float


@dataclass(frozen=True)
class Piece:
    """Text of an answer; the last piece has `finish` ("stop" or "length") and `usage`."""

    text: str
    finish: str = ""
    usage: Usage | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What is loaded. `context_tokens` is for one slot."""

    name: str
    slots: int
    context_tokens: int
    parameters: int
    quantization: str
    chat_template: str
    gpu_layers: int
    llama_cpp_version: str


class Engine:
    """A loaded model with its slots."""

    def __init__(self, model: ModelFile, config: EngineConfig) -> None:
        """Loads the model, which may take minutes. Raises FailedPrecondition where llama.cpp refuses it."""
        header = read_header(model.path)
        self._slot_folder = slot_folder(config)
        self._llama, port, key = start_llama(model.path, header, config, self._slot_folder)
        self._listener = Listener(port, key)
        self.http_port = port
        self.admission = Admission(config.parallel, config.queue)
        self.on_usage: Callable[[Usage], None] = lambda _usage: None
        """Hears of every answer that came to its end."""
        self._probed: set[str] = set()
        self._prefixes = SharedPrefixes()
        self._alphabet = Alphabet(header)
        self.facts = self._read_facts(header, model, min(requested_layers(config.gpu_layers), header.layers + 1))

    def render(self, messages: Sequence[Message]) -> str:
        """The messages through the model's own chat template. Raises InvalidArgument."""
        return self._listener.render(messages)

    def answer_probe(self) -> None:
        """Asks the model for one token. Raises FailedPrecondition where it does not answer."""
        pieces = list(self.stream(Question("Hello", Sampling(max_tokens=1)), Stop(deadline_seconds=300)))
        if not pieces or pieces[-1].usage is None:
            raise FailedPrecondition(f"the model {self.facts.name} does not answer; is it a text generation model?")

    def stream(self, question: Question, stop: Stop) -> Iterator[Piece]:
        """The answer in pieces. Ends a generation soon after `stop` is set, or when the iterator is closed.

        Raises ResourceExhausted (slots and queue full), InvalidArgument (prompt longer than the context, constraint
        that llama.cpp does not take or that no token fits), Cancelled and DeadlineExceeded.
        """
        if question.constraint is not None:
            self._alphabet.check(question.constraint.characters)
        if question.shared:
            self._prefixes.read_once(question.shared, lambda: self._read_for_all_slots(question.shared, stop), stop)
        with self.admission.slot(stop) as queue_seconds:
            if question.constraint is not None and question.constraint.probe:
                self._probe(question.constraint, stop)
            yield from self._generate(question, stop, queue_seconds)

    def _probe(self, constraint: Constraint, stop: Stop) -> None:
        if constraint.probe in self._probed:
            return
        question = Question("~", Sampling(max_tokens=1), Constraint(constraint.probe), cache_prompt=False)
        text = "".join(piece.text for piece in self._generate(question, stop, 0.0))
        if not text.startswith(PROBE_ANSWER):
            raise InvalidArgument(
                "llama.cpp does not take the JSON schema: a type or $ref that does not exist, bounds that contradict "
                "one another, or a pattern with look-around",
                field="constraint.json_schema",
            )
        if len(self._probed) < _PROBES_REMEMBERED:
            self._probed.add(constraint.probe)

    def _read_for_all_slots(self, shared: str, stop: Stop) -> bool:
        """Whether it was read: not while a slot is busy, nor where there is only one."""
        first, *others = range(self.facts.slots)
        question = Question(shared, Sampling(max_tokens=1))
        with self.admission.all_slots() as held:
            if not (held and others and self._slot_folder):
                return False
            request = {**_request(question, self.facts.context_tokens), "id_slot": first}
            with closing(self._chunks(request, stop)) as chunks:
                list(_pieces(chunks, question, 0.0))
            try:
                self._listener.copy_slot(first, others, Path(self._slot_folder.name))
            except FailedPrecondition as exc:
                _log.warning("each slot reads its prompt itself", reason=exc.message)
        return True

    def _generate(self, question: Question, stop: Stop, queue_seconds: float) -> Iterator[Piece]:
        with closing(self._chunks(_request(question, self.facts.context_tokens), stop)) as chunks:
            usage = yield from _pieces(chunks, question, queue_seconds)
        if usage is not None:
            self.on_usage(usage)

    def _chunks(self, request: Mapping[str, object], stop: Stop) -> Generator[Mapping[str, Any]]:
        """What llama.cpp says to a request until it has ended it. Raises Cancelled and DeadlineExceeded."""
        chunks: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        closed = threading.Event()

        def receive(chunk: Any) -> bool:
            chunks.put(json.loads(chunk) if isinstance(chunk, str) else chunk)
            return closed.is_set() or stop.is_set

        def work() -> None:
            try:
                self._llama.handle_completions(request, receive)
            except Exception as exc:
                chunks.put({"error": {"code": 500, "message": str(exc)}})
            finally:
                chunks.put(None)

        worker = threading.Thread(target=work, name="generation", daemon=True)
        worker.start()
        try:
            while True:
                try:
                    chunk = chunks.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    stop.raise_if_set("the model answered")
                    continue
                stop.raise_if_set("the model answered")
                if chunk is None:
                    return
                yield chunk
        finally:
            # The slot is free only once llama.cpp has let go of it: after the token or the part of a prompt in work.
            closed.set()
            worker.join()

    def _read_facts(self, header: GgufHeader, model: ModelFile, gpu_layers: int) -> ModelFacts:
        found = self._listener.properties()
        return ModelFacts(
            name=header.name or model.path.stem,
            slots=int(found["total_slots"]),
            context_tokens=int(found["default_generation_settings"]["n_ctx"]),
            parameters=int(found["n_params"]),
            quantization=str(found.get("model_ftype") or found.get("ftype") or ""),
            chat_template=str(found.get("chat_template", "")),
            gpu_layers=gpu_layers,
            llama_cpp_version=f"xllamacpp {xllamacpp.__version__}",
        )


def _request(question: Question, context_tokens: int) -> Mapping[str, object]:
    """The completion request. Always streamed, and with progress while the prompt is read: llama.cpp asks whether to
    stop only when it has something to say.
    """
    request: dict[str, object] = {
        "prompt": question.prompt,
        "stream": True,
        "return_progress": True,
        "cache_prompt": question.cache_prompt,
        **question.sampling.as_llama(context_tokens),
    }
    if question.constraint is not None:
        request["grammar"] = question.constraint.grammar
    return request


def _pieces(
    chunks: Iterator[Mapping[str, Any]], question: Question, queue_seconds: float
) -> Generator[Piece, None, Usage | None]:
    """The answer; what it took is returned."""
    kept: list[str] | None = [] if question.constraint is not None and question.constraint.is_json else None
    for chunk in chunks:
        if "error" in chunk:
            raise _error(chunk["error"], question)
        if "prompt_progress" in chunk:
            continue
        piece = _piece(chunk, queue_seconds)
        if kept is not None:
            kept.append(piece.text)
            if piece.finish or len(kept) == 1:
                _check_json("".join(kept), is_whole=piece.finish == "stop")
        if piece.text or piece.finish:
            yield piece
        if piece.finish:
            return piece.usage
    raise Unavailable("llama.cpp ended the answer early; is the server shutting down?")


def _piece(chunk: Mapping[str, Any], queue_seconds: float) -> Piece:
    choice = chunk["choices"][0]
    finish = choice.get("finish_reason")
    if not finish:
        return Piece(choice["text"])
    usage, timings = chunk["usage"], chunk.get("timings", {})
    return Piece(
        choice["text"],
        finish,
        Usage(
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            cached_tokens=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            queue_seconds=queue_seconds,
            prompt_seconds=timings.get("prompt_ms", 0.0) / 1000,
            completion_seconds=timings.get("predicted_ms", 0.0) / 1000,
        ),
    )


def _check_json(text: str, *, is_whole: bool) -> None:
    """llguidance drops a schema without a word when it runs out of its limits; what comes then is hardly JSON.

    Raises InvalidArgument unless `text` is JSON, or, where it is not whole, its beginning.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        breaks_off = exc.msg.startswith("Unterminated string") or len(text) - exc.pos <= _LONGEST_JSON_TOKEN
        if is_whole or not breaks_off:
            raise InvalidArgument(
                "llama.cpp gave the JSON schema up while it answered: it contradicts itself, refers to itself without "
                "end, or is too complex; loosen its lengths and counts",
                field="constraint.json_schema",
            ) from exc


def _error(error: Mapping[str, Any], question: Question) -> StillhouseError:
    """llama.cpp's complaint as one of ours."""
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return InvalidArgument(
            f"the prompt has {error.get('n_prompt_tokens')} tokens and a slot has {error.get('n_ctx')}; "
            "shorten it or serve with more --context",
            field="prompt",
        )
    if "empty grammar stack" in message:
        return InvalidArgument(
            "the constraint came to a place that no token of this model fits; check its character classes",
            field="constraint",
        )
    if question.constraint is not None and ("grammar" in message or "sampler" in message):
        return InvalidArgument(f"llama.cpp does not take the constraint: {message}", field="constraint")
    if error.get("code") == 400:
        return InvalidArgument(f"llama.cpp refuses the request: {message}")
    if "memory" in message.lower() or "KV cache" in message or "context size" in message.lower():
        return ResourceExhausted(f"llama.cpp ran out of memory for this request: {message}")
    return Unavailable(f"llama.cpp failed: {message}")
