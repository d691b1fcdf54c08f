"""Reads what a person, or a pipe, says to a student: single lines and texts of several. Called by chat."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from stillhouse.errors import InvalidArgument, NotFound


@dataclass(frozen=True)
class Prompter:
    """Asks on `screen` (only at a terminal) and reads from `source`."""

    source: TextIO
    screen: TextIO

    @property
    def is_interactive(self) -> bool:
        """A person is at the other end."""
        return self.source.isatty()

    def say(self, text: str) -> None:
        """A remark for a person; a pipe gets none."""
        if self.is_interactive:
            print(text, file=self.screen, flush=True)

    def line(self, name: str) -> str | None:
        """One line, or the text of a file for @PATH; None at the end of input. Empty lines of a pipe are skipped."""
        while True:
            if self.is_interactive:
                print(f"{name}> ", end="", file=self.screen, flush=True)
            text = self.source.readline()
            if not text:
                return None
            if text.strip() or self.is_interactive:
                return _or_file(text.strip())

    def text(self, name: str) -> str:
        """Lines up to an empty one or the end of input, or the text of a file for @PATH alone."""
        self.say(f"{name} (end with an empty line; @FILE reads a file)>")
        lines: list[str] = []
        while line := self.source.readline():
            if not line.strip():
                if lines:
                    break
                if self.is_interactive:
                    break
                continue
            lines.append(line)
            if len(lines) == 1 and line.startswith("@"):
                break
        return _or_file("".join(lines).rstrip("\n"))


def use_line_editing() -> None:
    """History and editing of what is typed, where the interpreter has it."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it is what switches it on


def _or_file(text: str) -> str:
    if not text.startswith("@") or "\n" in text:
        return text
    path = Path(text[1:].strip()).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"{path} is not UTF-8 text") from exc
    except OSError as exc:
        raise NotFound(f"{path} can't be read: {exc.strerror or exc}") from exc
