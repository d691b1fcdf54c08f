"""Fetches a model from the Hugging Face hub, with errors that name the model and the remedy.

`bases` calls it. The token comes from the trainer's configuration and is never written anywhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub import errors as hub_errors

from stillhouse.cache import cache_errors
from stillhouse.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StillhouseError,
    Unavailable,
)

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_WANTED = ["*.json", "*.safetensors", "*.model", "*.jinja", "LICENSE*", "README.md"]
_UNWANTED = ["*/*", "*.bin", "consolidated*"]
"""Original-format copies of the weights double the download and are never read."""


def hub_directory(
    name: str, *, revision: str, folder: Path, token: str | None, endpoint: str | None
) -> tuple[Path, str]:
    """(snapshot in `folder`, licence as the hub knows it or empty).

    Raises InvalidArgument (no hub name), PermissionDenied (gated, or the token is refused), NotFound (no such model or
    revision), FailedPrecondition (no safetensors), Unavailable (the hub can't be reached), ResourceExhausted (the disk
    is full).
    """
    if not _HUB_NAME.fullmatch(name):
        raise InvalidArgument(
            f"base {name!r} is no builtin:NAME and no hub name such as Qwen/Qwen2.5-7B-Instruct", field="name"
        )
    api = HfApi(endpoint=endpoint, token=token if token is not None else False)
    try:
        with cache_errors(folder, variable="HF_HOME"):
            return _snapshot(api, name, revision, folder)
    except (hub_errors.HfHubHTTPError, hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError) as exc:
        raise _hub_error(exc, name, revision, has_token=token is not None) from exc
    except Exception as exc:
        # The hub's client lets its HTTP library's own exceptions through.
        if _is_transport_error(exc):
            raise _unreachable(name, exc) from exc
        raise


def _snapshot(api: HfApi, name: str, revision: str, folder: Path) -> tuple[Path, str]:
    info = api.model_info(name, revision=revision or None)
    if not any(sibling.rfilename.endswith(".safetensors") for sibling in info.siblings or []):
        raise FailedPrecondition(f"{name} has no safetensors weights on the hub; choose a model that has", field="name")
    snapshot = api.snapshot_download(
        name,
        revision=info.sha or revision or None,
        cache_dir=folder,
        allow_patterns=_WANTED,
        ignore_patterns=_UNWANTED,
    )
    licence = getattr(info.card_data, "license", None) if info.card_data else None
    return Path(snapshot), str(licence or "")


def _hub_error(exc: Exception, name: str, revision: str, *, has_token: bool) -> StillhouseError:
    remedy = "the token in HF_TOKEN has no access to it" if has_token else "set HF_TOKEN to a token with access"
    if isinstance(exc, hub_errors.GatedRepoError):
        return PermissionDenied(
            f"{name} is gated: accept its terms at https://huggingface.co/{name}; {remedy}", field="name"
        )
    if isinstance(exc, hub_errors.RevisionNotFoundError):
        return NotFound(f"{name} has no revision {revision!r} on the hub", field="revision")
    if isinstance(exc, hub_errors.RepositoryNotFoundError):
        return NotFound(f"{name} does not exist on the hub, or it is private: {remedy}", field="name")
    if isinstance(exc, hub_errors.HFValidationError):
        return InvalidArgument(f"{name!r} is no hub name: {exc}", field="name")
    status = getattr(getattr(exc, "response", None), "status_code", 0)
    if status in (401, 403):
        return PermissionDenied(f"the hub refuses {name}: {remedy}", field="name")
    return _unreachable(name, exc)


def _unreachable(name: str, exc: Exception) -> Unavailable:
    reason = " ".join(str(exc).split())[:200]
    return Unavailable(
        f"{name} can't be fetched from the hub: {reason}; try again, set HF_ENDPOINT to a mirror, or put the model's "
        "directory into the store and name that",
        field="name",
    )


def _is_transport_error(exc: Exception) -> bool:
    """An HTTP library's, or a system error of no file: a name that is not resolved, a connection that is refused."""
    if isinstance(exc, OSError) and (exc.errno is None or exc.filename is None):
        return True
    return type(exc).__module__.split(".")[0] in ("httpx", "httpcore", "requests", "urllib3")
