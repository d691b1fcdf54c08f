"""The export of one model, from request to result: fetch, merge, convert, quantize, gate, keep.

Called by `__main__` through the job runner. It imports no grpc, and torch only by way of `merge`.
"""

from __future__ import annotations

import dataclasses
import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.dataset.records import read_records
from stillhouse.errors import InvalidArgument, ResourceExhausted
from stillhouse.exporter import merge
from stillhouse.exporter.config import ExporterConfig
from stillhouse.exporter.converter import (
    CONVERTER_TYPES,
    Conversion,
    Converter,
    adapter_conversion,
    model_conversion,
    prepare_converter,
)
from stillhouse.exporter.gates import Measurement, Reference, measure, require_divergence, require_parity
from stillhouse.exporter.probes import Row, build_probes, recorded_rows, synthesized_rows
from stillhouse.exporter.quantization import choose_quantization, quantize
from stillhouse.exporter.results import keep_results, modelfile_text
from stillhouse.exporter.work import Converted, ExportWork, Prepared
from stillhouse.roles.requested import check_version
from stillhouse.roles.role import load_role
from stillhouse.rpc.operation import JobContext
from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult

BYTES_A_PARAMETER = {"F32": 4.0, "F16": 2.0, "BF16": 2.0, "Q8_0": 1.07}
OTHER_BYTES_A_PARAMETER = 1.0


def run_export(context: JobContext, request: ExportRequest, config: ExporterConfig) -> ExportResult:
    """Makes, gates and keeps the files of one export.

    Raises InvalidArgument for a bad request, FailedPrecondition where a gate fails or the quantizer is not installed,
    ResourceExhausted where disk or memory doesn't suffice, Cancelled when the context is stopping.
    """
    work = _begin(context, request)
    work.report("preparing llama.cpp's converter")
    converter = prepare_converter(config.cache_directory, stopping=context.stopping)
    prepared = _prepare(work)
    converted = _convert(work, prepared, converter)
    return keep_results(work, prepared, converted)


def _begin(context: JobContext, request: ExportRequest) -> ExportWork:
    """Refuses what can be refused before anything is fetched, then fetches."""
    role = load_role(request.role.name)
    check_version(role, request.role)
    if not request.base.files:
        raise InvalidArgument("the base has no files; prepare it with PrepareBase", field="base")
    if request.quantization:
        choose_quantization(request.quantization, parameters=0)
    files = [*request.base.files, *request.adapter.files]
    require_disk(context.workspace, sum(file.size_bytes for file in files), "fetching base and adapter")
    context.raise_if_stopping()
    base = context.store.fetch_set(request.base, context.workspace / "base")
    adapter = context.store.fetch_set(request.adapter, context.workspace / "adapter") if request.adapter.files else None
    parameters = merge.count_parameters(base)
    quantization = choose_quantization(request.quantization, parameters)
    # Beside the f16 and the quantized file an adapter needs the merged model and the base at f16.
    each = 2.0 + BYTES_A_PARAMETER.get(quantization, OTHER_BYTES_A_PARAMETER) + (4.0 if adapter else 0.0)
    require_disk(context.workspace, int(each * parameters), "converting")
    return ExportWork(context, request, role, base, adapter, parameters, quantization)


def require_disk(directory: Path, needed_bytes: int, what: str) -> None:
    """Raises ResourceExhausted, naming the bytes, where the disk of `directory` hasn't that many free."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise ResourceExhausted(
            f"{what} needs {needed_bytes:,} bytes in {directory}, {free:,} are free; free space or set TMPDIR elsewhere"
        )


def _prepare(work: ExportWork) -> Prepared:
    """Asks the fine-tuned model while it is whole, then merges it."""
    work.report("asking the fine-tuned model")
    chat = ChatTokenizer(work.base)
    rows = _rows(work)
    probes = build_probes(chat, rows, context_tokens=work.context_tokens)
    model = merge.load_fine_tuned(work.base, work.adapter, allowed_nats=work.max_kl_divergence)
    blocks = []
    for sequence in probes.sequences:
        work.context.raise_if_stopping()
        blocks.append(merge.answer_log_probabilities(model, sequence.tokens, sequence.positions).numpy())
    prepared = Prepared(chat, rows, probes, Reference(tuple(blocks)), model=work.base, adapter=None)
    modelfile_text(work, prepared, "model.gguf")  # raises before the long work where the template can't be rendered
    if work.adapter is None:
        return prepared
    work.report("merging the adapter")
    plain = merge.plain_lora(work.adapter, merge.adapter_scales(model), work.workspace / "plain-adapter")
    merged = merge.save_merged(model, work.base, work.workspace / "merged")
    del model
    gc.collect()
    return dataclasses.replace(prepared, model=merged, adapter=plain)


def _rows(work: ExportWork) -> list[Row]:
    """Prompts and answers: the first records of the probes, else the role's own examples."""
    artifact = work.request.probes
    rows: list[Row] = []
    if artifact.sha256:
        records = read_records(work.context.store.open_lines(artifact), source=artifact.name)
        rows = list(recorded_rows(work.role, records))
    return rows or list(synthesized_rows(work.role))


def _convert(work: ExportWork, prepared: Prepared, converter: Converter) -> Converted:
    files = _files(work, prepared)
    work.report("converting to GGUF")
    log, stopping = work.workspace / "convert.log", work.context.stopping
    converter.convert(list(_conversions(work, prepared, files)), log=log, stopping=stopping)
    work.report("checking the f16 file")
    measured = _measure(work, prepared, files.f16, with_texts=True)
    require_parity(measured.parity)
    require_divergence(files.f16.name, measured.divergence, work.max_kl_divergence)
    work.figures["kl_divergence_f16"] = measured.divergence.mean
    divergence = measured.divergence
    if files.quantized != files.f16:
        work.report(f"checking the {work.quantization} file")
        if work.quantization not in CONVERTER_TYPES:
            quantize(files.f16, files.quantized, name=work.quantization, log=log, stopping=stopping)
        divergence = _measure(work, prepared, files.quantized).divergence
        work.figures["kl_divergence_quantized"] = divergence.mean
    if files.adapter is None:
        return Converted(files.f16, files.quantized, None, measured, divergence, None)
    # The adapter is gated as it is used: on top of the base. A wrong one is far off, so half of the probes will do.
    work.report("checking the adapter")
    half = (len(prepared.probes.sequences) + 1) // 2
    on_base = _measure(work, prepared.with_sequences(half), files.base_f16, adapter=files.adapter).divergence
    require_divergence(f"{files.adapter.name} on the base", on_base, work.max_kl_divergence)
    work.figures["kl_divergence_adapter"] = on_base.mean
    return Converted(files.f16, files.quantized, files.adapter, measured, divergence, on_base)


@dataclasses.dataclass(frozen=True)
class _Files:
    """Where the GGUF files go."""

    f16: Path
    quantized: Path
    adapter: Path | None
    base_f16: Path
    """The base on its own, to check the adapter on; written only with an adapter, and not kept."""


def _files(work: ExportWork, prepared: Prepared) -> _Files:
    def path(kind: str) -> Path:
        return work.workspace / f"{work.name}.{kind}.gguf"

    adapter = path("adapter") if prepared.adapter else None
    return _Files(path("F16"), path(work.quantization), adapter, work.workspace / "base.F16.gguf")


def _conversions(work: ExportWork, prepared: Prepared, files: _Files) -> Iterator[Conversion]:
    yield model_conversion(prepared.model, files.f16, quantization="F16", name=work.name)
    if work.quantization in CONVERTER_TYPES and files.quantized != files.f16:
        yield model_conversion(prepared.model, files.quantized, quantization=work.quantization, name=work.name)
    if prepared.adapter and files.adapter:
        yield adapter_conversion(prepared.adapter, files.adapter, base=work.base)
        yield model_conversion(work.base, files.base_f16, quantization="F16", name="base")


def _measure(
    work: ExportWork, prepared: Prepared, model: Path, *, adapter: Path | None = None, with_texts: bool = False
) -> Measurement:
    return measure(
        model,
        prepared.probes,
        prepared.reference,
        scratch=work.workspace,
        stopping=work.context.stopping,
        adapter=adapter,
        with_texts=with_texts,
    )
