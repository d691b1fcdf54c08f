"""Which object store the command line works in when none is named.

Called by the commands; the environment is read here and only when a command runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stillhouse.artifacts.store import Store

STORE_VARIABLE = "STILLHOUSE_STORE"


def default_store_uri() -> str:
    """$STILLHOUSE_STORE, else `stillhouse/store` in $XDG_DATA_HOME (~/.local/share)."""
    named = os.environ.get(STORE_VARIABLE, "").strip()
    if named:
        return named
    data = os.environ.get("XDG_DATA_HOME", "").strip()
    # The base directory specification has relative paths ignored.
    folder = Path(data) if data and Path(data).is_absolute() else Path.home() / ".local" / "share"
    return f"file://{folder / 'stillhouse' / 'store'}"


def open_store(uri: str | None) -> Store:
    """The store at `uri`, or the default one. Raises what `Store.open` does."""
    from stillhouse.artifacts.store import Store

    return Store.open(uri or default_store_uri())
