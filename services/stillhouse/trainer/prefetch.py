"""Makes built-in bases in the cache: `python -m stillhouse.trainer.prefetch NAME...`, for image builds.

It knows nothing of requests and stores.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from stillhouse.errors import StillhouseError
from stillhouse.trainer.builtin import builtin_directory
from stillhouse.trainer.config import TrainerConfig


def main(names: Sequence[str]) -> int:
    """Makes each base that is not there and prints its directory; the exit code of the first error."""
    try:
        cache = TrainerConfig.from_env().cache_directory
        for name in names:
            sys.stdout.write(f"{builtin_directory(name, cache, stopping=threading.Event())}\n")
    except StillhouseError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
