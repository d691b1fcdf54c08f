"""Describes and keeps what an export made: Modelfile, model card, artifacts, result message. Called by `export`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from stillhouse.exporter.gates import MAX_OTHER_MISMATCH_FRACTION, Divergence
from stillhouse.exporter.model_card import Card, CardFigure, CardFile, write_card
from stillhouse.exporter.modelfile import read_pieces, write_modelfile
from stillhouse.exporter.work import Converted, ExportWork, Prepared
from stillhouse.roles.role import Message
from stillhouse.v1.artifact_pb2 import Artifact, ArtifactSet
from stillhouse.v1.exporter_pb2 import ExportResult

MODELFILE_CONTEXT_TOKENS = 8192
"""num_ctx of the Modelfile where the base knows more: Ollama reserves memory for all of it."""
GGUF_MEDIA_TYPE = "application/x-gguf"
TEXT_MEDIA_TYPE = "text/plain; charset=utf-8"


def keep_results(work: ExportWork, prepared: Prepared, converted: Converted) -> ExportResult:
    """Puts every file into the store and returns the result that names them."""
    create = f"ollama create {work.name} -f Modelfile"
    modelfile = modelfile_text(work, prepared, converted.quantized.name)
    model_f16 = _put(work, converted.f16)
    model = model_f16 if converted.quantized == converted.f16 else _put(work, converted.quantized)
    adapter = _put(work, converted.adapter) if converted.adapter else None
    card = _card(work, converted, create, [model, model_f16, *([adapter] if adapter else [])])
    result = ExportResult(
        model=model,
        model_f16=model_f16,
        adapter=adapter,
        modelfile=_put_text(work, "Modelfile", modelfile),
        model_card=_put_text(work, "README.md", write_card(card)),
        quantization=work.quantization,
        parity_probes=converted.measured_f16.parity.probes,
        parity_mismatches=len(converted.measured_f16.parity.mismatches),
        kl_divergence_f16=converted.measured_f16.divergence.mean,
        kl_divergence_quantized=converted.divergence_quantized.mean,
        kl_positions=converted.measured_f16.divergence.positions,
    )
    work.report(f"done; for Ollama, in the folder of the files: {create}")
    return result


def modelfile_text(work: ExportWork, prepared: Prepared, model_file: str) -> str:
    """The Modelfile. Raises FailedPrecondition where Ollama can't render the training prompt."""
    chat = prepared.chat

    def render(messages: Sequence[Message]) -> str:
        # Ollama's tokenizer adds the beginning-of-text token where the training tokenizer would.
        return chat.render(messages).removeprefix(chat.added_prefix)

    systems = {next((m.content for m in messages if m.role == "system"), "") for messages, _ in prepared.rows}
    return write_modelfile(
        read_pieces(render, prepared.rows[0][0]),
        model_file=model_file,
        stop=chat.end_of_turn,
        context_tokens=min(work.context_tokens, MODELFILE_CONTEXT_TOKENS),
        system=systems.pop() if len(systems) == 1 else "",
    )


def _card(work: ExportWork, converted: Converted, create: str, kept: Sequence[Artifact]) -> Card:
    what = {converted.f16.name: "f16", converted.quantized.name: f"{work.quantization}, the one to serve"}
    files = {
        file.name: CardFile(file.name, file.sha256, file.size_bytes, what.get(file.name, "LoRA adapter for the base"))
        for file in kept
    }
    request = work.request
    return Card(
        model_name=work.name,
        role=work.role.name,
        role_version=work.role.version,
        base_name=request.base_name,
        base_license=request.base_license,
        data_source=request.data_source,
        fine_tuned=work.adapter is not None,
        quantization=work.quantization,
        parameters=work.parameters,
        files=list(files.values()),
        figures=list(_figures(work, converted)),
        ollama_create=create,
        base_digest=_set_digest(request.base),
        adapter_digest=_set_digest(request.adapter) if work.adapter else "",
    )


def _figures(work: ExportWork, converted: Converted) -> Iterator[CardFigure]:
    parity, limit = converted.measured_f16.parity, f"{work.max_kl_divergence:g}"
    allowed = f"0 of the role's own {parity.rendered}, {MAX_OTHER_MISMATCH_FRACTION:.0%} of the others"
    yield CardFigure("token parity", f"{len(parity.mismatches)} of {parity.probes} texts differ", allowed)
    yield CardFigure("KL divergence, f16", _nats(converted.measured_f16.divergence), limit)
    if work.quantization != "F16":
        yield CardFigure(f"KL divergence, {work.quantization}", _nats(converted.divergence_quantized), "reported only")
    if converted.divergence_adapter is not None:
        yield CardFigure("KL divergence, adapter on the f16 base", _nats(converted.divergence_adapter), limit)


def _nats(divergence: Divergence) -> str:
    return f"{divergence.mean:.2e} mean, {divergence.largest:.2e} largest, {divergence.positions} positions"


def _put(work: ExportWork, path: Path) -> Artifact:
    return work.context.store.put_file(path, name=path.name, media_type=GGUF_MEDIA_TYPE, producer_key=work.context.key)


def _put_text(work: ExportWork, name: str, text: str) -> Artifact:
    key = work.context.key
    return work.context.store.put_bytes(text.encode(), name=name, media_type=TEXT_MEDIA_TYPE, producer_key=key)


def _set_digest(files: ArtifactSet) -> str:
    lines = sorted(f"{file.name} {file.sha256}\n" for file in files.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
