"""The line that a command shows while its job runs: words of others are printed as they are."""

from __future__ import annotations

import io

from rich.console import Console

from stillhouse.cli.jobs import progress_line
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
