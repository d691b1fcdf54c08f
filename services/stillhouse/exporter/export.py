"""The export of one model, from request to result: fetch, convert, quantize, gate, describe, keep.

Called by `servicer` and `__main__` through the job runner. It imports no grpc, and torch only by way of `merge`.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.dataset.records import read_records
from stillhouse.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from stillhouse.exporter import merge
from stillhouse.exporter.config import ExporterConfig
from stillhouse.exporter.converter import CONVERTER_TYPES, Converter, prepare_converter
from stillhouse.exporter.gates import (
    DEFAULT_MAX_KL_DIVERGENCE,
    Divergence,
    Measurement,
    Reference,
    measure,
    require_divergence,
    require_parity,
)
from stillhouse.exporter.model_card import Card, CardFigure, CardFile, write_card
from stillhouse.exporter.modelfile import read_pieces, write_modelfile
from stillhouse.exporter.probes import (
    RENDERED_TEXTS,
    ChatTokenizer,
    Probes,
    Row,
    build_probes,
    recorded_rows,
    synthesized_rows,
)
from stillhouse.exporter.quantization import choose_quantization, quantize
from stillhouse.roles.role import Message, Role, load_role
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult

if TYPE_CHECKING:
    from stillhouse.rpc.job import JobContext

STAGE = "export"
LOGIC_VERSION = 1
STEPS = 8
MODELFILE_CONTEXT_TOKENS = 8192
BYTES_A_PARAMETER = {"F32": 4.0, "F16": 2.0, "BF16": 2.0, "Q8_0": 1.07}
GGUF_MEDIA_TYPE = "application/x-gguf"


@dataclass
class _Export:
    """One export under way: what the steps hand on to each other."""

    context: JobContext
    request: ExportRequest
    role: Role
    base: Path
    adapter: Path | None
    parameters: int
    quantization: str
    converter: Converter
    step: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.context.workspace

    @property
    def name(self) -> str:
        """The model's name as a file name and as Ollama takes it."""
        return re.sub(r"[^a-z0-9._-]+", "-", self.request.model_name.lower()).strip("-.") or "student"

    @property
    def limit(self) -> float:
        return self.request.max_kl_divergence or DEFAULT_MAX_KL_DIVERGENCE

    def report(self, message: str) -> None:
        self.context.raise_if_stopping()
        self.context.report(
            Progress(stage=STAGE, message=message, done=self.step, total=STEPS, unit="steps", figures=self.figures)
        )
        self.step = min(self.step + 1, STEPS)


@dataclass(frozen=True)
class _Prepared:
    """The fine-tuned model's answers to the probes, and what the converter reads."""

    chat: ChatTokenizer
    rows: Sequence[Row]
    probes: Probes
    reference: Reference
    model: Path
    """Hugging Face directory, merged."""
    adapter: Path | None
    """PEFT directory that llama.cpp scales right; None for a base, or where no plain LoRA says the same."""


@dataclass(frozen=True)
class _Converted:
    """The GGUF files and what the gates measured."""

    f16: Path
    quantized: Path
    adapter: Path | None
    measured_f16: Measurement
    measured_quantized: Divergence
    measured_adapter: Divergence | None


def run_export(context: JobContext, request: ExportRequest, config: ExporterConfig) -> ExportResult:
    """Makes, gates and keeps the files of one export.

    Raises InvalidArgument for a bad request, FailedPrecondition where a gate fails or the quantizer is not installed,
    ResourceExhausted where disk or memory doesn't suffice, Cancelled when the context is stopping.
    """
    export = _begin(context, request, config)
    prepared = _prepare(export)
    converted = _convert(export, prepared)
    return _keep(export, prepared, converted)


def _begin(context: JobContext, request: ExportRequest, config: ExporterConfig) -> _Export:
    role = load_role(request.role.name)
    if request.role.version and request.role.version != role.version:
        raise FailedPrecondition(
            f"the request is for version {request.role.version} of role {role.name}, installed is {role.version}",
            field="role",
        )
    if not request.base.files:
        raise InvalidArgument("the base has no files; prepare it with PrepareBase", field="base")
    if request.quantization:
        choose_quantization(request.quantization, parameters=0)
    files = [*request.base.files, *request.adapter.files]
    _require_disk(context.workspace, sum(file.size_bytes for file in files), "fetching base and adapter")
    base = context.store.fetch_set(request.base, context.workspace / "base")
    adapter = context.store.fetch_set(request.adapter, context.workspace / "adapter") if request.adapter.files else None
    parameters = merge.count_parameters(base)
    export = _Export(
        context=context,
        request=request,
        role=role,
        base=base,
        adapter=adapter,
        parameters=parameters,
        quantization=choose_quantization(request.quantization, parameters),
        converter=Converter(Path()),
    )
    # Merged model and base at f16 exist for an adapter only.
    each = 2.0 + BYTES_A_PARAMETER.get(export.quantization, 1.0) + (4.0 if adapter else 0.0)
    _require_disk(context.workspace, int(each * parameters), "converting")
    export.report("fetching llama.cpp's converter")
    return replace(export, converter=prepare_converter(config.cache_directory, stopping=context.stopping))


def _prepare(export: _Export) -> _Prepared:
    export.report("asking the fine-tuned model")
    chat = ChatTokenizer.load(export.base)
    rows = _rows(export)
    probes = build_probes(chat, rows, context_tokens=_context_tokens(export.base))
    model = merge.load_fine_tuned(export.base, export.adapter)
    blocks = []
    for sequence in probes.sequences:
        export.context.raise_if_stopping()
        blocks.append(merge.answer_log_probabilities(model, sequence.tokens, sequence.positions).numpy())
    reference = Reference(tuple(blocks))
    if export.adapter is None:
        return _Prepared(chat, rows, probes, reference, model=export.base, adapter=None)
    export.report("merging the adapter")
    scales = merge.adapter_scales(model)
    plain = merge.plain_lora(export.adapter, scales, export.workspace / "plain-adapter")
    merged = merge.save_merged(model, export.base, export.workspace / "merged")
    del model
    gc.collect()
    return _Prepared(chat, rows, probes, reference, model=merged, adapter=plain)


def _convert(export: _Export, prepared: _Prepared) -> _Converted:
    export.report("converting to GGUF")
    f16 = _model_gguf(export, prepared.model, "F16")
    export.report("checking the f16 file")
    measured = _measure(export, prepared, f16, with_texts=True)
    require_parity(measured.parity)
    require_divergence(f16.name, measured.divergence, export.limit)
    export.figures["kl_divergence_f16"] = measured.divergence.mean
    quantized, divergence = f16, measured.divergence
    if export.quantization != "F16":
        export.report(f"quantizing to {export.quantization}")
        quantized = _quantized(export, prepared.model, f16)
        divergence = _measure(export, prepared, quantized).divergence
        export.figures["kl_divergence_quantized"] = divergence.mean
    if prepared.model != export.base:
        shutil.rmtree(prepared.model)
    adapter, adapter_divergence = _adapter_gguf(export, prepared)
    return _Converted(f16, quantized, adapter, measured, divergence, adapter_divergence)


def _model_gguf(export: _Export, source: Path, quantization: str, *, label: str = "") -> Path:
    return export.converter.convert_model(
        source,
        export.workspace / f"{export.name}{label}.{quantization}.gguf",
        outtype=CONVERTER_TYPES[quantization],
        name=export.name,
        log=export.workspace / "convert.log",
        stopping=export.context.stopping,
    )


def _quantized(export: _Export, source: Path, f16: Path) -> Path:
    if export.quantization in CONVERTER_TYPES:
        return _model_gguf(export, source, export.quantization)
    output = export.workspace / f"{export.name}.{export.quantization}.gguf"
    log = export.workspace / "quantize.log"
    return quantize(f16, output, name=export.quantization, log=log, stopping=export.context.stopping)


def _adapter_gguf(export: _Export, prepared: _Prepared) -> tuple[Path | None, Divergence | None]:
    """The adapter as GGUF, gated as it is used: on top of the base's own f16 file, which is thrown away again."""
    if prepared.adapter is None:
        return None, None
    export.report("converting the adapter")
    adapter = export.converter.convert_adapter(
        prepared.adapter,
        export.workspace / f"{export.name}.adapter.gguf",
        base=export.base,
        log=export.workspace / "convert.log",
        stopping=export.context.stopping,
    )
    base = _model_gguf(export, export.base, "F16", label="-base")
    export.report("checking the adapter")
    divergence = _measure(export, prepared, base, adapter=adapter).divergence
    base.unlink()
    require_divergence(f"{adapter.name} on the base", divergence, export.limit)
    export.figures["kl_divergence_adapter"] = divergence.mean
    return adapter, divergence


def _measure(
    export: _Export, prepared: _Prepared, model: Path, *, adapter: Path | None = None, with_texts: bool = False
) -> Measurement:
    return measure(
        model,
        prepared.probes,
        prepared.reference,
        scratch=export.workspace,
        stopping=export.context.stopping,
        adapter=adapter,
        with_texts=with_texts,
    )


def _keep(export: _Export, prepared: _Prepared, converted: _Converted) -> ExportResult:
    create = f"ollama create {export.name} -f Modelfile"
    model_f16 = _put(export, converted.f16)
    model = model_f16 if converted.quantized == converted.f16 else _put(export, converted.quantized)
    adapter = _put(export, converted.adapter) if converted.adapter else None
    modelfile = _put_text(export, "Modelfile", _modelfile(export, prepared, model.name))
    card = _card(export, converted, create, [model, model_f16, adapter, modelfile])
    export.step = STEPS
    export.report(f"done; for Ollama, in the folder of the files: {create}")
    return ExportResult(
        model=model,
        model_f16=model_f16,
        adapter=adapter,
        modelfile=modelfile,
        model_card=_put_text(export, "README.md", write_card(card)),
        quantization=export.quantization,
        parity_probes=converted.measured_f16.parity.probes,
        parity_mismatches=len(converted.measured_f16.parity.mismatches),
        kl_divergence_f16=converted.measured_f16.divergence.mean,
        kl_divergence_quantized=converted.measured_quantized.mean,
        kl_positions=converted.measured_f16.divergence.positions,
    )


def _modelfile(export: _Export, prepared: _Prepared, model_file: str) -> str:
    chat = prepared.chat

    def render(messages: Sequence[Message]) -> str:
        # Ollama's tokenizer adds the beginning-of-text token where the training tokenizer would.
        return chat.render(messages).removeprefix(chat.added_prefix)

    systems = {next((m.content for m in messages if m.role == "system"), "") for messages, _ in prepared.rows}
    return write_modelfile(
        read_pieces(render, prepared.rows[0][0]),
        model_file=model_file,
        stop=chat.end_of_turn,
        context_tokens=min(_context_tokens(export.base), MODELFILE_CONTEXT_TOKENS),
        system=systems.pop() if len(systems) == 1 else "",
    )


def _card(export: _Export, converted: _Converted, create: str, kept: Sequence[Artifact | None]) -> Card:
    request, measured = export.request, converted.measured_f16
    what = {converted.f16.name: "f16", converted.quantized.name: f"{export.quantization}, the one to serve"}
    files = {
        file.name: CardFile(file.name, file.sha256, file.size_bytes, what.get(file.name, "LoRA adapter for the base"))
        for file in kept
        if file is not None and file.name != "Modelfile"
    }
    rounded = f"{export.limit:g}"
    figures = [
        CardFigure(
            "token parity", f"{len(measured.parity.mismatches)} of {measured.parity.probes} texts differ", "see docs"
        ),
        CardFigure("KL divergence, f16", _nats(measured.divergence), rounded),
        CardFigure(f"KL divergence, {export.quantization}", _nats(converted.measured_quantized), "reported only"),
    ]
    if converted.measured_adapter is not None:
        figures.append(CardFigure("KL divergence, adapter on the f16 base", _nats(converted.measured_adapter), rounded))
    return Card(
        model_name=export.name,
        role=export.role.name,
        role_version=export.role.version,
        base_name=request.base_name,
        base_license=request.base_license,
        data_source=request.data_source,
        fine_tuned=export.adapter is not None,
        quantization=export.quantization,
        parameters=export.parameters,
        files=list(files.values()),
        figures=figures,
        ollama_create=create,
        base_digest=_set_digest(request.base),
        adapter_digest=_set_digest(request.adapter) if export.adapter else "",
    )


def _nats(divergence: Divergence) -> str:
    return f"{divergence.mean:.2e} mean, {divergence.largest:.2e} largest, {divergence.positions} positions"


def _put(export: _Export, path: Path) -> Artifact:
    return export.context.store.put_file(
        path, name=path.name, media_type=GGUF_MEDIA_TYPE, producer_key=export.context.key
    )


def _put_text(export: _Export, name: str, text: str) -> Artifact:
    return export.context.store.put_bytes(
        text.encode(), name=name, media_type="text/plain; charset=utf-8", producer_key=export.context.key
    )


def _rows(export: _Export) -> list[Row]:
    """Prompts and answers: the first records of the probes, else the role's own examples."""
    artifact = export.request.probes
    if not artifact.sha256:
        return list(synthesized_rows(export.role))
    records = read_records(export.context.store.open_lines(artifact), source=artifact.name)
    rows = list(recorded_rows(export.role, itertools.islice(records, RENDERED_TEXTS)))
    # Reading to the end verifies the digest.
    for _ in records:
        pass
    if not rows:
        raise InvalidArgument(f"{artifact.name} holds no records to measure on", field="probes")
    return rows


def _context_tokens(base: Path) -> int:
    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 2048)


def _require_disk(directory: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise ResourceExhausted(
            f"{what} needs {needed:,} bytes in {directory}, {free:,} are free; free disk space or set TMPDIR elsewhere"
        )


def _set_digest(files: ArtifactSet) -> str:
    lines = sorted(f"{file.name} {file.sha256}\n" for file in files.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
