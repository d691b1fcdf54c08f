"""Runs several of llama.cpp's conversion scripts in one process, which imports torch and transformers once.

`converter` starts it as `python -m`. It must import nothing of the exporter: what it runs is not ours.
"""

from __future__ import annotations

import json
import runpy
import sys


def main() -> int:
    """The one argument is JSON: a list of argument lists, each with the script's path first."""
    for arguments in json.loads(sys.argv[1]):
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
