"""What `stillhouse train` says to do next: with the names that it was given."""

from __future__ import annotations

from pathlib import Path

from stillhouse.cli.train import export_command


def test_the_next_step_names_the_base_that_was_trained_on() -> None:
    said = export_command(Path("my adapter"), "org/model", "v1")
    assert said == "stillhouse export --adapter 'my adapter' --base org/model --revision v1 --output DIR"
    assert export_command(Path("a"), "builtin:tiny", "") == (
        "stillhouse export --adapter a --base builtin:tiny --output DIR"
    )
