"""Exports of the tiny base through the exporter's own process, and its gates against files that are wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import pytest
import torch
from google.protobuf import any_pb2
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers

from exported_tiny import Q_PROJECTION, tiny_base, write_adapter
from gguf_fixture import CACHE
from stillhouse.artifacts.digests import request_key
from stillhouse.artifacts.messages import message_json
from stillhouse.artifacts.store import Store
from stillhouse.chat_tokenizer import ChatTokenizer
from stillhouse.dataset.records import DataRecord, write_record
from stillhouse.errors import FailedPrecondition, Unavailable
from stillhouse.exporter import gates, merge
from stillhouse.exporter.converter import Converter, adapter_conversion, model_conversion, prepare_converter
from stillhouse.exporter.probes import build_probes, recorded_rows
from stillhouse.roles.role import load_role
from stillhouse.stages import EXPORT
from stillhouse.v1.artifact_pb2 import Manifest
from stillhouse.v1.common_pb2 import RoleReference
from stillhouse.v1.exporter_pb2 import ExportRequest, ExportResult

LIMIT = 1e-4
ROLE = load_role("product_owner")
RECORDS = [
    DataRecord(
        inputs={"concept": f"A tool for {number} Gärtner", "requirements_yaml": f"functional:\n- id: FR{number:03}\n"},
        outputs={
            "product_vision": f"product_name: Tool {number}\nsummary: 'Wächst 🌱 in {number * 37} days'\n",
            "product_owner_review": f"status: aligned\nsummary:\n- 'FR{number:03}: fits'\n",
        },
    )
    for number in range(1, 5)
]


@dataclass(frozen=True)
class Exported:
    """One finished export of base and adapter."""

    store: Store
    base: Path
    adapter: Path
    result: ExportResult

    def fetch(self, name: str, directory: Path) -> Path:
        """One of the result's files, by the result's field."""
        artifact = getattr(self.result, name)
        return self.store.fetch(artifact, directory / artifact.name)


@pytest.fixture(scope="module")
def converter() -> Converter:
    try:
        return prepare_converter(CACHE, stopping=threading.Event())
    except Unavailable as exc:
        pytest.skip(f"llama.cpp's converter can't be had: {exc.message[-300:]}")


def _request(store: Store, base: Path, adapter: Path | None) -> ExportRequest:
    lines = "".join(write_record(record) for record in RECORDS)
    request = ExportRequest(
        role=RoleReference(name=ROLE.name, version=ROLE.version),
        base=store.put_directory(base),
        probes=store.put_bytes(lines.encode(), name="tuning.jsonl"),
        max_kl_divergence=LIMIT,
        model_name="Tiny Owner",
        base_name="builtin:tiny",
        base_license="apache-2.0",
        data_source="written for tests",
        store_uri=store.uri,
    )
    if adapter is not None:
        request.adapter.CopyFrom(store.put_directory(adapter))
    return request


def _start(request: ExportRequest, folder: Path) -> subprocess.Popen[bytes]:
    packed = any_pb2.Any()
    packed.Pack(request)
    file = folder / "request.json"
    file.write_text(message_json(packed), encoding="utf-8")
    command = [sys.executable, "-m", "stillhouse.exporter", "run", "--request", str(file)]
    with (folder / "job.log").open("wb") as log:
        environment = {**os.environ, "STILLHOUSE_CACHE": str(CACHE), "TMPDIR": str(folder)}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def _result(store: Store, request: ExportRequest) -> ExportResult:
    manifest = store.read_manifest(EXPORT.name, request_key(EXPORT.name, EXPORT.logic_version, request))
    assert isinstance(manifest, Manifest)
    result = ExportResult()
    assert manifest.result.Unpack(result)
    return result


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, converter: Converter) -> Exported:
    folder = tmp_path_factory.mktemp("export")
    base = tiny_base()
    adapter = write_adapter(base, folder / "adapter", rslora=True)
    store = Store.open(str(folder / "store"))
    request = _request(store, base, adapter)
    process = _start(request, folder)
    assert process.wait(timeout=400) == 0, (folder / "job.log").read_text()
    assert not list(folder.glob("stillhouse-export-*"))
    return Exported(store, base, adapter, _result(store, request))


def test_an_export_has_every_file_and_its_gates_figures(exported: Exported) -> None:
    result = exported.result
    assert result.quantization == "Q8_0"
    assert result.model.name == "tiny-owner.Q8_0.gguf"
    assert result.model_f16.name == "tiny-owner.F16.gguf"
    assert result.adapter.name == "tiny-owner.adapter.gguf"
    assert result.parity_probes > 300
    assert result.parity_mismatches == 0
    assert 0 < result.kl_divergence_f16 < LIMIT
    assert result.kl_divergence_f16 < result.kl_divergence_quantized < 0.05
    assert result.kl_positions >= 24


def test_the_modelfile_names_the_served_file_and_the_training_prompt(exported: Exported, tmp_path: Path) -> None:
    text = exported.fetch("modelfile", tmp_path).read_text()
    assert text.startswith("FROM ./tiny-owner.Q8_0.gguf\n")
    assert 'assistant\\n" }}"""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text


def test_the_model_card_carries_licence_source_digests_and_gates(exported: Exported, tmp_path: Path) -> None:
    text = exported.fetch("model_card", tmp_path).read_text()
    for word in ("apache-2.0", "written for tests", "builtin:tiny", exported.result.model.sha256, "token parity"):
        assert word in text
    assert "ollama create tiny-owner -f Modelfile" in text
    assert "KL divergence, adapter on the f16 base" in text


def test_the_adapters_scale_is_that_of_rslora(exported: Exported, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(exported.fetch("adapter", tmp_path))
    assert reader.fields["adapter.lora.alpha"].contents() == pytest.approx(8 * 4**0.5)


def test_an_adapter_whose_rows_are_not_permuted_fails_the_divergence_gate(
    exported: Exported, converter: Converter, tmp_path: Path
) -> None:
    stopping, log = threading.Event(), tmp_path / "convert.log"
    chat = ChatTokenizer(exported.base)
    probes = build_probes(chat, recorded_rows(ROLE, RECORDS), context_tokens=2048, sequences=2, positions=4)
    model = merge.load_fine_tuned(exported.base, exported.adapter)
    plain = merge.plain_lora(exported.adapter, merge.adapter_scales(model), tmp_path / "plain")
    assert plain is not None
    reference = gates.Reference(
        tuple(merge.answer_log_probabilities(model, s.tokens, s.positions).numpy() for s in probes.sequences)
    )
    _undo_permutation(plain, heads=json.loads((exported.base / "config.json").read_text())["num_attention_heads"])
    base, bad = tmp_path / "base.gguf", tmp_path / "bad.gguf"
    conversions = [
        model_conversion(exported.base, base, quantization="F16", name="base"),
        adapter_conversion(plain, bad, base=exported.base),
    ]
    converter.convert(conversions, log=log, stopping=stopping)
    good = exported.fetch("adapter", tmp_path)
    kept = gates.measure(base, probes, reference, scratch=tmp_path, stopping=stopping, adapter=good)
    gates.require_divergence("the adapter", kept.divergence, LIMIT)
    spoiled = gates.measure(base, probes, reference, scratch=tmp_path, stopping=stopping, adapter=bad)
    with pytest.raises(FailedPrecondition, match="is not the fine-tuned model"):
        gates.require_divergence("the adapter", spoiled.divergence, 1e-3)


def _undo_permutation(adapter: Path, *, heads: int) -> None:
    """Reorders B so that the converter's permutation of q rows brings the order of training back."""
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if name.endswith(f"{Q_PROJECTION}.lora_B.weight"):
            rows = torch.arange(tensor.shape[0]).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
            tensors[name] = tensor[rows].contiguous()
    save_file(tensors, path)


def test_a_tokenizer_that_does_not_split_digits_fails_the_parity_gate(exported: Exported, tmp_path: Path) -> None:
    chat = ChatTokenizer(exported.base)
    probes = build_probes(chat, recorded_rows(ROLE, RECORDS), context_tokens=2048, sequences=1, positions=1)
    reference = gates.Reference(
        (torch.full((1, 49152), -10.8).numpy(),)  # uniform: only the tokens are looked at
    )
    chat.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    skewed = replace(probes, text_tokens=tuple(tuple(chat.encode(text)) for text in probes.texts))
    model = exported.fetch("model_f16", tmp_path)
    found = gates.measure(model, skewed, reference, scratch=tmp_path, stopping=threading.Event(), with_texts=True)
    assert len(found.parity.mismatches) > 20
    with pytest.raises(FailedPrecondition, match="token parity failed"):
        gates.require_parity(found.parity)


def test_sigterm_ends_an_export_with_its_subprocess_and_leaves_nothing(converter: Converter, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    request = _request(store, tiny_base(), None)
    process = _start(request, tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("stillhouse-export-*/convert.log")) and time.monotonic() < deadline:
        assert process.poll() is None, (tmp_path / "job.log").read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert not list(tmp_path.glob("stillhouse-export-*"))
    assert store.read_manifest(EXPORT.name, request_key(EXPORT.name, EXPORT.logic_version, request)) is None
