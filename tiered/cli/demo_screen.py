"""The demo's screen: lines, one progress line that is rewritten on a terminal, a little colour."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import textwrap
import time

WIDTH = 80
"""Where the terminal does not tell; one that does is believed within bounds."""
NARROWEST, WIDEST = 40, 120
EVERY = 3.0
"""Seconds between two progress lines where a line cannot be rewritten."""


class Screen:
    """Standard output for people; `quiet` for `--json`. For the main thread, except `handler`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tty = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._tty and not os.environ.get("NO_COLOR")
        self._progress_shown = False
        self._last = time.monotonic()
        self.handler = _Notes()

    def say(self, text: str = "", *, colour: str = "", wrap: bool = True) -> None:
        """A line of its own, after what tiered logged meanwhile; `colour` is "good", "bad" or none.

        A command to be copied is not to be wrapped.
        """
        self._show_notes()
        self._print(text, colour, wrap)

    def progress(self, text: str) -> None:
        """The live line; without a terminal, one every few seconds. Also prints what tiered logged meanwhile."""
        self._show_notes()
        if self._quiet:
            return
        if self._tty:
            # One column is left free: a line that fills the last one would not be rewritten but continued.
            print(f"\r{text[: self._width() - 1]}\x1b[K", end="", flush=True)
            self._progress_shown = True
        elif time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            print(text, flush=True)

    def _show_notes(self) -> None:
        for note in self.handler.take():
            self._print(f"         tiered says: {note}", "")

    def _print(self, text: str, colour: str, wrap: bool = True) -> None:
        if self._quiet:
            return
        if self._progress_shown:
            print("\r\x1b[K", end="")
            self._progress_shown = False
        for line in text.split("\n"):
            width = self._width() if wrap else max(1, len(line))
            wrapped = textwrap.wrap(line, width, subsequent_indent=" " * 9, break_on_hyphens=False)
            print(self._painted("\n".join(wrapped), colour) if wrapped else "", flush=True)

    def _width(self) -> int:
        columns = shutil.get_terminal_size((WIDTH, 24)).columns if self._tty else WIDTH
        return max(NARROWEST, min(columns, WIDEST))

    def _painted(self, text: str, colour: str) -> str:
        codes = {"good": "32;1", "bad": "31;1"}
        return f"\x1b[{codes[colour]}m{text}\x1b[0m" if self._colour and colour in codes else text


class _Notes(logging.Handler):
    """Keeps the warnings of other threads until the main thread prints them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._notes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(record.getMessage())

    def take(self) -> list[str]:
        """The notes since the last call."""
        notes, self._notes = self._notes, []
        return notes
