"""The line that a command shows while its job runs: words of others are printed as they are."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from stillhouse.artifacts.messages import message_json
from stillhouse.artifacts.store import Store
from stillhouse.cli.jobs import follow, progress_line
from stillhouse.rpc.operation import progress_path
from stillhouse.v1.common_pb2 import Progress


def test_a_terminal_shows_a_message_with_brackets_as_it_is() -> None:
    shown = io.StringIO()
    with progress_line(Console(file=shown, force_terminal=True, width=100)) as show:
        show(Progress(stage="generate", message="away: [/etc/hosts] [red]refused"))
    assert "away: [/etc/hosts] [red]refused" in shown.getvalue()


def test_elsewhere_a_message_is_a_line() -> None:
    shown = io.StringIO()
    with progress_line(Console(file=shown, width=100)) as show:
        show(Progress(stage="train", message="away: [/etc/hosts]", done=1, unit="rows"))
    assert shown.getvalue() == "train: away: [/etc/hosts]  1 rows\n"


def test_what_a_stopped_run_left_is_not_shown_as_where_its_successor_is(tmp_path: Path) -> None:
    store = Store.open(f"file://{tmp_path}")
    shown = io.StringIO()
    looks = iter(range(3))

    def report(rows: int) -> None:
        progress = Progress(stage="optimize", done=rows, unit="rows")
        store.put_object(progress_path("key"), message_json(progress).encode())

    def stopped() -> bool:
        look = next(looks)
        if look == 1:
            assert not shown.getvalue(), "nothing has been reported yet"
            report(1)
        return look == 2

    report(30)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as job:
        follow(store, "key", job, Console(file=shown, width=100), stopped=stopped)
        job.kill()
    assert shown.getvalue() == "optimize: 1 rows\n"
