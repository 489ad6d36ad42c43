"""A little colour on standard output, where it is a terminal and NO_COLOR is not set."""

from __future__ import annotations

import os

from tiered.cli.ticks import live

_CODES = {"good": "32", "warn": "33", "bad": "31;1", "dim": "2", "bold": "1"}


def painted(text: str, colour: str) -> str:
    """`text`, which must already have its place: colours have no width, but characters."""
    if not colour or os.environ.get("NO_COLOR") or not live():
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"
