"""`stillhouse export`: a base and an adapter to GGUF, without a Distillation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.bases import DEFAULT_BASE
from stillhouse.cli.choices import chosen_role

if TYPE_CHECKING:
    from rich.console import Console

    from stillhouse.artifacts.store import Store
    from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult


def export(
    output: Annotated[Path, typer.Option(help="Folder for the GGUF files, Modelfile and model card.")],
    adapter: Annotated[Path | None, typer.Option(help="Folder of the adapter; without it, the base itself.")] = None,
    base: Annotated[str, typer.Option(help="The base that the adapter was trained on.")] = DEFAULT_BASE,
    revision: Annotated[str, typer.Option(help="Commit, branch or tag of a hub name.")] = "",
    quantize: Annotated[str, typer.Option(help="Q8_0, F16, Q4_K_M, ...; default by the base's size.")] = "",
    max_kl: Annotated[float, typer.Option(min=0.0, help="Largest mean KL divergence of the f16 file, in nats.")] = 1e-4,
    name: Annotated[str, typer.Option(help="Name for the model card and Ollama.")] = "",
    data_source: Annotated[str, typer.Option(help="Where the answers are from, for the model card.")] = "",
    role: Annotated[str, typer.Option(help="The role whose prompt the Modelfile renders.")] = "product_owner",
    store: Annotated[str | None, typer.Option(help="Object store for the results.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of a table.")] = False,
) -> None:
    """Exports GGUF, gated against the fine-tuned model.

    On token parity and on KL divergence.
    """
    from stillhouse.cli.files import existing_folder
    from stillhouse.cli.store import open_store
    from stillhouse.cli.tables import remarks
    from stillhouse.v1.common_pb2 import RoleReference
    from stillhouse.v1.exporter_pb2 import ExportRequest

    chosen = chosen_role(role)
    files = _adapter_files(existing_folder(adapter, with_file="adapter_config.json")) if adapter else []
    request = ExportRequest(
        role=RoleReference(name=chosen.name, version=chosen.version),
        quantization=quantize.upper(),
        max_kl_divergence=max_kl,
        model_name=name or (f"{role.replace('_', '-')}-student" if adapter else "base"),
        base_name=base,
        data_source=data_source or ("not stated" if adapter else ""),
    )
    screen, opened = remarks(), open_store(store)
    result = _export(opened, request, (base, revision), files, screen)
    _deliver(opened, result, output, model_name=request.model_name, json_output=json_output)


def _adapter_files(folder: Path) -> list[Path]:
    """The adapter and nothing else of the folder: what lies beside it must not change the key."""
    from stillhouse.cli.files import existing_file

    return [existing_file(folder / name) for name in ("adapter_config.json", "adapter_model.safetensors")]


def _export(
    store: Store, request: ExportRequest, base: tuple[str, str], adapter: list[Path], screen: Console
) -> ExportResult:
    from stillhouse.cli.bases import prepare_base
    from stillhouse.cli.jobs import run_stage
    from stillhouse.stages import EXPORT
    from stillhouse.v1.exporter_pb2 import ExportResult

    prepared = prepare_base(store, *base, screen=screen)
    request.base.CopyFrom(prepared.base)
    request.base_license = prepared.license
    for path in adapter:
        request.adapter.files.append(store.put_file(path, name=path.name))
    return run_stage(store, EXPORT, request, ExportResult, screen=screen)


def _deliver(store: Store, result: ExportResult, output: Path, *, model_name: str, json_output: bool) -> None:
    from stillhouse.cli.files import fetch_files, write_json
    from stillhouse.cli.tables import console, facts_table, print_json
    from stillhouse.exporter.names import model_slug

    made = [result.model, result.model_f16, result.adapter, result.modelfile, result.model_card]
    paths = fetch_files(store, {artifact.sha256: artifact for artifact in made}.values(), output)
    document: dict[str, Any] = {
        "model": str(output / result.model.name.rsplit("/", 1)[-1]),
        "model_sha256": result.model.sha256,
        "quantization": result.quantization,
        "files": [str(path) for path in paths],
        "parity_probes": result.parity_probes,
        "parity_mismatches": result.parity_mismatches,
        "kl_divergence_f16": result.kl_divergence_f16,
        "kl_divergence_quantized": result.kl_divergence_quantized,
        "kl_positions": result.kl_positions,
    }
    write_json(output / "export.json", document)
    if json_output:
        print_json(document)
        return
    facts = [
        ("model", f"{document['model']} ({result.quantization}, {result.model.size_bytes / 1e6:,.0f} MB)"),
        ("sha256", result.model.sha256),
        ("token parity", f"{result.parity_mismatches} of {result.parity_probes} probes differ"),
        ("mean KL", f"{result.kl_divergence_f16:.2g} at f16, {result.kl_divergence_quantized:.2g} as served"),
        ("Ollama", f"ollama create {model_slug(model_name)} -f {output / result.modelfile.name}"),
        ("next", f"stillhouse serve-student {document['model']}"),
    ]
    console().print(facts_table(facts))
