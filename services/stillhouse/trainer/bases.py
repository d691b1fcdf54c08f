"""The operation behind PrepareBase: any base model becomes a checked Hugging Face directory in the store.

`__main__` runs it as a Job. It knows where bases come from (built in, hub, store), and nothing of training.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import FailedPrecondition, InvalidArgument
from stillhouse.rpc.operation import JobContext
from stillhouse.stages import BASE
from stillhouse.trainer.builtin import builtin_directory, builtin_files
from stillhouse.trainer.config import TrainerConfig
from stillhouse.trainer.hub import hub_directory
from stillhouse.v1.artifact_pb2 import ArtifactSet
from stillhouse.v1.common_pb2 import Progress
from stillhouse.v1.trainer_pb2 import PrepareBaseRequest, PrepareBaseResult

_BUILTIN = "builtin:"
_MAX_HEADER_BYTES = 100 << 20
_KEPT = (".json", ".safetensors", ".model", ".jinja", ".txt")


def prepare_base(context: JobContext, request: PrepareBaseRequest, config: TrainerConfig) -> PrepareBaseResult:
    """Puts the base into the store.

    Raises InvalidArgument or NotFound for an unknown base, PermissionDenied for a gated one, FailedPrecondition where
    it can't be trained (no chat template, no safetensors, no causal language model), Unavailable, ResourceExhausted.
    """
    if bool(request.name) == request.HasField("directory"):
        raise InvalidArgument("a base is either a name or a directory in the store", field="name")
    name = request.name or "the directory"
    context.report(Progress(stage=BASE.name, message=f"fetching {name}", total=2, unit="steps"))
    directory, licence = _fetch(context, request, config)
    context.raise_if_stopping()
    described = describe_base(directory, name=name)
    context.report(Progress(stage=BASE.name, message=f"storing {name}", done=1, total=2, unit="steps"))
    if request.HasField("directory"):
        base = ArtifactSet(files=sorted(request.directory.files, key=lambda file: file.name))
    else:
        base = ArtifactSet(files=[_put(context, path) for path in base_files(directory)])
    context.report(Progress(stage=BASE.name, message=f"{name} is in the store", done=2, total=2, unit="steps"))
    return PrepareBaseResult(
        base=base,
        parameters=described.parameters,
        license=licence or _licence_in_readme(directory),
        architecture=described.architecture,
    )


def _fetch(context: JobContext, request: PrepareBaseRequest, config: TrainerConfig) -> tuple[Path, str]:
    if request.HasField("directory"):
        return context.store.fetch_set(request.directory, context.workspace / "base"), ""
    if request.name.startswith(_BUILTIN):
        name = request.name.removeprefix(_BUILTIN)
        return builtin_directory(name, config.cache_directory, stopping=context.stopping), "apache-2.0"
    return hub_directory(
        request.name,
        revision=request.revision,
        folder=config.hub_cache,
        token=config.hub_token,
        endpoint=config.hub_endpoint,
    )


def base_files(directory: Path) -> Sequence[Path]:
    """The files of a base that go into the store, sorted by name: no README, no hidden file, no folder."""
    return [
        path
        for path in builtin_files(directory)
        if path.is_file()
        and (path.suffix in _KEPT or path.name.startswith("LICENSE"))
        and not path.name.startswith(".")
    ]


def _put(context: JobContext, path: Path) -> Any:
    context.raise_if_stopping()
    return context.store.put_file(path, name=path.name, producer_key=context.key)


@dataclass(frozen=True)
class BaseDescription:
    """What config.json and the weights' headers say."""

    parameters: int
    architecture: str


def describe_base(directory: Path, *, name: str) -> BaseDescription:
    """Checks that a directory holds a base that can be trained, without loading its weights.

    Raises FailedPrecondition that names the base and what is missing.
    """
    settings = _read_json(directory / "config.json", name)
    architectures = settings.get("architectures") or []
    if not any("CausalLM" in str(architecture) for architecture in architectures):
        raise FailedPrecondition(f"{name} is no causal language model: config.json names {architectures}", field="name")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise FailedPrecondition(f"{name} has no *.safetensors; pickled weights are not read", field="name")
    tokenizer = _read_json(directory / "tokenizer_config.json", name)
    if not tokenizer.get("chat_template") and not (directory / "chat_template.jinja").is_file():
        raise FailedPrecondition(f"{name} has no chat template; choose its instruct or chat variant", field="name")
    if not any((directory / file).is_file() for file in ("tokenizer.json", "tokenizer.model")):
        raise FailedPrecondition(f"{name} has no tokenizer.json or tokenizer.model", field="name")
    return BaseDescription(sum(_parameters(path, name) for path in weights), str(architectures[0]))


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as exc:
        raise FailedPrecondition(f"{name} has no {path.name}: it is no Hugging Face directory", field="name") from exc
    except ValueError as exc:
        raise FailedPrecondition(f"{name}: {path.name} is not JSON", field="name") from exc
    if not isinstance(value, dict):
        raise FailedPrecondition(f"{name}: {path.name} is no JSON object", field="name")
    return value


def _parameters(path: Path, name: str) -> int:
    """Elements in a safetensors file, from its header (https://huggingface.co/docs/safetensors)."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError("header is too long")
            header = json.loads(stream.read(length))
        return sum(math.prod(entry["shape"]) for tensor, entry in header.items() if tensor != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as exc:
        raise FailedPrecondition(f"{name}: {path.name} is no safetensors file: {exc}", field="name") from exc


def _licence_in_readme(directory: Path) -> str:
    """`license:` in the front matter of a model card; empty if there is none."""
    card = directory / "README.md"
    if not card.is_file():
        return ""
    for line in card.read_text("utf-8", errors="replace").splitlines()[:200]:
        if line.startswith("license:"):
            return line.removeprefix("license:").strip().strip("\"'")
    return ""
