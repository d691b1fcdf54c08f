"""Reads what a person, or a pipe, says to a student: single lines and texts of several. Called by chat."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
                with self._asking_again():
                    return _or_file(text.strip())

    def text(self, name: str) -> str:
        """Lines up to an empty one or the end of input, or the text of a file for @PATH alone."""
        while True:
            self.say(f"{name} (end with an empty line; @FILE reads a file)>")
            text = self._lines()
            with self._asking_again():
                return _or_file(text)

    def _lines(self) -> str:
        lines: list[str] = []
        while line := self.source.readline():
            if not line.strip():
                if lines or self.is_interactive:
                    break
                continue
            lines.append(line)
            if len(lines) == 1 and line.startswith("@"):
                break
        return "".join(lines).rstrip("\n")

    @contextlib.contextmanager
    def _asking_again(self) -> Iterator[None]:
        """A person may have meant another file; a pipe ends with the error."""
        try:
            yield
        except (InvalidArgument, NotFound) as exc:
            if not self.is_interactive:
                raise
            self.say(f"error: {exc.message}")


def use_line_editing() -> None:
    """History and editing of what is typed, where the interpreter has it."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it is what switches it on


def _or_file(text: str) -> str:
    if not text.startswith("@") or "\n" in text:
        return text
    name = text[1:].strip()
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"{name} is not UTF-8 text") from exc
    except (OSError, RuntimeError, ValueError) as exc:  # nobody's home, a null character
        raise NotFound(f"{name} can't be read: {getattr(exc, 'strerror', None) or exc}") from exc
