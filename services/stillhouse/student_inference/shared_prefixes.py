"""Which beginnings of prompts the slots still hold: llama.cpp shares nothing between slots by itself.

Called by the engine for every question; knows no grpc and no llama.cpp.
"""

from __future__ import annotations

import hashlib
import threading

SHORTEST = 1000
"""Characters: what is shorter is read sooner than others' prompts are lost for it."""


class SharedPrefixes:
    """Beginnings that were read for all slots. One is lost once as many questions as there are slots came without it.

    So two beginnings in turn do not drive each other out of all slots, question by question.
    """

    def __init__(self, slots: int) -> None:
        """Nothing was read."""
        self._slots = slots
        self._lock = threading.Lock()
        self._asked = 0
        self._held: dict[bytes, int] = {}
        """The number of the last question with each, by digest; at most as many as there are slots."""

    def ask(self, shared: str) -> bool:
        """Counts a question; whether what it begins with is to be read for all slots. Empty: it shares nothing."""
        digest = _digest(shared)
        with self._lock:
            self._asked += 1
            self._held = {each: last for each, last in self._held.items() if self._asked - last <= self._slots}
            if digest in self._held:
                self._held[digest] = self._asked
            return len(shared) >= SHORTEST and digest not in self._held

    def hold(self, shared: str) -> None:
        """All slots hold it now."""
        with self._lock:
            self._held[_digest(shared)] = self._asked


def _digest(shared: str) -> bytes:
    return hashlib.sha256(shared.encode(errors="surrogatepass")).digest()
