"""Starts llama.cpp's server with everything off that nobody asked for.

Called by the engine; knows no grpc.
"""

from __future__ import annotations

import secrets
import signal
import socket
import threading
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from stillhouse.errors import FailedPrecondition
from stillhouse.student_inference.config import DEFAULT_CONTEXT_TOKENS, EngineConfig
from stillhouse.student_inference.gguf_header import GgufHeader
from stillhouse.student_inference.hardware import physical_cores, requested_layers

_BLOCK = 32
"""Numbers that share a scale in ggml's Q8_0."""


def slot_folder(config: EngineConfig) -> Path | None:
    """Where one slot is put down for the others to take it up; it is there while that is done, under a name that nobody
    can guess. None where no file can be written, or where others than this process may call the listener, which would
    let them write there.
    """
    if config.http_port is not None:
        return None
    try:
        return Path(gettempdir()) / f"stillhouse-slots-{secrets.token_hex(16)}"
    except OSError:
        return None


def start_llama(path: Path, header: GgufHeader, config: EngineConfig, slots: Path | None) -> tuple[Any, int, str]:
    """The xllamacpp server, the port of its HTTP listener and that listener's key.

    Raises FailedPrecondition: the HTTP port is in use, or llama.cpp does not load the file.
    """
    parameters = server_parameters(path, header, config)
    if slots is not None:
        parameters.slot_save_path = f"{slots}/"
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if config.http_port:
        _check_port(config.http_host, config.http_port)
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as exc:
        raise FailedPrecondition(
            f"llama.cpp cannot load {path.name}: its architecture ({header.architecture}) is unknown to this version, "
            "the file is damaged, or memory does not suffice; its log above says which",
            field="model",
        ) from exc
    finally:
        # llama.cpp installs handlers of its own, which end its loop under requests that are still being answered.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return server, int(urlsplit(server.listening_address).port or 0), parameters.api_keys[0]


def server_parameters(path: Path, header: GgufHeader, config: EngineConfig) -> Any:
    """All that llama.cpp is told."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {path.stem}
    parameters.n_parallel = config.parallel
    parameters.n_ctx = _context(header, config) * config.parallel
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = config.threads or physical_cores()
    parameters.n_gpu_layers = requested_layers(config.gpu_layers)
    # A prompt is read in parts, between which others get their turn and a cancelled request lets go.
    parameters.n_batch = 512 if parameters.n_gpu_layers else 256
    if not parameters.n_gpu_layers:
        # On a processor llama.cpp's flash attention reads a prompt faster, and writes far slower behind a long one.
        # Keys of 8 bits make up for the first: benchmarks/student_throughput.py. Values of 8 bits need flash attention.
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if header.key_width and header.key_width % _BLOCK == 0:
            parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    parameters.fit_params = False
    parameters.verbosity = 1
    # The prompts of others are not kept in memory beside the slots, and slots are not shown.
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    parameters.endpoint_slots = False
    parameters.endpoint_props = False
    parameters.endpoint_metrics = False
    parameters.ui = False
    parameters.cors_origins = ""
    parameters.cors_credentials = False
    parameters.prefill_assistant = False
    parameters.api_keys = [config.http_key or secrets.token_urlsafe(32)]
    offered = config.http_port is not None
    parameters.hostnames = [config.http_host if offered else "127.0.0.1"]
    parameters.port = config.http_port or 0
    return parameters


def _context(header: GgufHeader, config: EngineConfig) -> int:
    """Tokens a slot: never more than the model was trained for, whatever was asked."""
    wanted = config.context_tokens or DEFAULT_CONTEXT_TOKENS
    return min(wanted, header.context_tokens or wanted)


def _check_port(host: str, port: int) -> None:
    """llama.cpp reports a port in use as any other failure, so it is tried here first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise FailedPrecondition(
                f"can't listen on {host}:{port}: {exc.strerror}; choose another --http-port", field="http_port"
            ) from exc
