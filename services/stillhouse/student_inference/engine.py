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
from dataclasses import dataclass
from typing import Any

import structlog
import xllamacpp

from stillhouse.errors import FailedPrecondition, InvalidArgument, Unavailable
from stillhouse.roles.role import Message
from stillhouse.student_inference.admission import Admission, Stop
from stillhouse.student_inference.alphabet import Alphabet
from stillhouse.student_inference.completion import NOTHING, Piece, Question, Usage, completion_request, pieces_of
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
        self._prefixes = SharedPrefixes(config.parallel)
        self._alphabet = Alphabet(header)
        self.facts = self._read_facts(header, model, min(requested_layers(config.gpu_layers), header.layers + 1))

    @property
    def shares(self) -> bool:
        """Whether what a question begins with can be copied from slot to slot."""
        return self._slot_folder is not None and self.facts.slots > 1

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
        before = NOTHING

        def read_for_all() -> None:
            nonlocal before
            before = self._read_for_all_slots(question.shared, stop)

        is_lost = self._prefixes.ask(question.shared if question.cache_prompt else "")
        with self.admission.slot(stop, read_for_all if is_lost and self.shares else None) as queue_seconds:
            if question.constraint is not None and question.constraint.probe:
                self._probe(question.constraint, stop)
            yield from self._generate(question, stop, queue_seconds, before)

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

    def _read_for_all_slots(self, shared: str, stop: Stop) -> Usage:
        """What that took. All slots are held."""
        first, *others = range(self.facts.slots)
        question = Question(shared, Sampling(max_tokens=1))
        request = {**completion_request(question, self.facts.context_tokens), "id_slot": first}
        with closing(self._chunks(request, stop)) as chunks:
            *_, last = pieces_of(chunks, question, 0.0)

        def uncopied() -> Iterator[int]:
            for other in others:
                stop.raise_if_set("what many prompts begin with was copied")
                yield other

        if self._slot_folder is not None:
            try:
                self._listener.copy_slot(first, uncopied(), self._slot_folder)
            except (FailedPrecondition, Unavailable) as exc:
                _log.warning("each slot reads its prompt itself", reason=exc.message)
        self._prefixes.hold(shared)
        return last.usage or NOTHING

    def _generate(
        self, question: Question, stop: Stop, queue_seconds: float, before: Usage = NOTHING
    ) -> Iterator[Piece]:
        """`before` is what was read for this question before it was put."""
        with closing(self._chunks(completion_request(question, self.facts.context_tokens), stop)) as chunks:
            usage = yield from pieces_of(chunks, question, queue_seconds, before)
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
