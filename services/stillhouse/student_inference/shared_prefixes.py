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
        self._others: dict[bytes, int] = {}
        """How many questions came since the last with each beginning, by digest; for as many beginnings as slots."""
        self._held: set[bytes] = set()

    def ask(self, shared: str) -> bool:
        """Counts a question; whether what it begins with is to be read for all slots. Empty: it shares nothing."""
        digest = _digest(shared)
        with self._lock:
            self._others = {
                each: others + 1 for each, others in self._others.items() if each != digest and others + 1 < self._slots
            }
            if len(shared) >= SHORTEST:
                self._others[digest] = 0
            self._held &= self._others.keys()
            return digest in self._others and digest not in self._held

    def hold(self, shared: str) -> None:
        """All slots hold it now, unless it is lost already to those who came while it was read."""
        with self._lock:
            self._held |= {_digest(shared)} & self._others.keys()


def _digest(shared: str) -> bytes:
    return hashlib.sha256(shared.encode(errors="surrogatepass")).digest()
