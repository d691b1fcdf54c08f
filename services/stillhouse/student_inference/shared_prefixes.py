"""Has what many prompts begin with read once for all slots: llama.cpp shares nothing between slots by itself.

Called by the engine before a question that says so; knows no grpc and no llama.cpp.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile

from stillhouse.student_inference.admission import Stop

_REMEMBERED = 256
_POLL_SECONDS = 0.05


class SharedPrefixes:
    """Each beginning is read at most once: what a slot has lost since, it reads again for itself.

    So prompts of two beginnings in turn do not drive each other out of all slots.
    """

    def __init__(self) -> None:
        """Nothing was read."""
        self._reading = threading.Lock()
        self._read: OrderedDict[bytes, None] = OrderedDict()

    def read_once(self, shared: str, read: Callable[[], bool], stop: Stop) -> None:
        """Calls `read` if this text was not read before; it says whether it did. One reads, others wait for it.

        Raises what `read` raises, and Cancelled or DeadlineExceeded where `stop` is set while waiting.
        """
        digest = hashlib.sha256(shared.encode(errors="surrogatepass")).digest()
        while not self._reading.acquire(timeout=_POLL_SECONDS):
            stop.raise_if_set("what many prompts begin with was read")
        try:
            if digest not in self._read and read():
                self._read[digest] = None
                if len(self._read) > _REMEMBERED:
                    self._read.popitem(last=False)
        finally:
            self._reading.release()


def common_beginning(text: str, other: str) -> str:
    """The characters that both begin with."""
    return text[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))]
