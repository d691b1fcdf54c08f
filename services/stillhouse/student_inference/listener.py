"""Talks to the HTTP listener that llama.cpp opens on loopback, for what its binding does not offer.

Called by the engine for chat templates, facts about the model and copies of slots; knows no grpc.
"""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.errors import FailedPrecondition, InvalidArgument, Unavailable
from stillhouse.roles.role import Message

_TIMEOUT_SECONDS = 30
_SLOT_FILE = "slot"


class Listener:
    """One llama.cpp HTTP listener."""

    def __init__(self, port: int, key: str) -> None:
        """`key` is the bearer token that the listener was started with."""
        self._port = port
        self._key = key

    def render(self, messages: Sequence[Message]) -> str:
        """The messages as the model's own chat template prints them, with the opening of the answer.

        Raises InvalidArgument with the template's complaint.
        """
        body = {"messages": [{"role": message.role, "content": message.content} for message in messages]}
        status, answer = self._call("POST", "/apply-template", body)
        if status != http.client.OK:
            raise InvalidArgument(
                f"the model's chat template cannot print these messages: {_complaint(answer)}", field="chat"
            )
        return str(answer["prompt"])

    def properties(self) -> Mapping[str, Any]:
        """`/props` and the model's `meta` of `/v1/models` in one mapping."""
        found: dict[str, Any] = {}
        for path in ("/props", "/v1/models"):
            status, answer = self._call("GET", path)
            if status != http.client.OK:
                raise FailedPrecondition(f"llama.cpp's listener answers {path} with {status}: {_complaint(answer)}")
            found.update(answer)
        return {**found, **found["data"][0]["meta"]}

    def copy_slot(self, slot: int, others: Iterable[int], folder: Path) -> None:
        """Has other slots hold what this one holds, by way of a file. All of them are idle.

        The folder is made for it and taken away again: the file is somebody's prompt. Raises FailedPrecondition where
        it can't be made, or with llama.cpp's complaint (no room, say), and Unavailable.
        """
        try:
            folder.mkdir(mode=0o700)
        except OSError as exc:
            raise FailedPrecondition(f"no folder can be made at {folder}: {exc.strerror}") from exc
        try:
            self._slot(slot, "save", _SLOT_FILE)
            for other in others:
                self._slot(other, "restore", _SLOT_FILE)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _slot(self, slot: int, action: str, name: str) -> None:
        status, answer = self._call("POST", f"/slots/{slot}?action={action}", {"filename": name})
        if status != http.client.OK:
            raise FailedPrecondition(f"llama.cpp cannot {action} slot {slot}: {_complaint(answer)}")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Mapping[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise Unavailable(f"llama.cpp's listener on port {self._port} does not answer {path}: {exc}") from exc
        finally:
            connection.close()


def _complaint(answer: Mapping[str, Any]) -> str:
    error = answer.get("error")
    return str(error.get("message", error)) if isinstance(error, Mapping) else str(answer)
