"""One line on standard error that is rewritten: what is done, how fast, how long it will take. Terminals only."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tiered.verification.progress import Progress

EVERY = 0.1
"""Seconds between two rewrites."""
_Result = TypeVar("_Result")


class ProgressLine:
    """For one thread. Where standard error is no terminal, it says nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._step, self._began, self._next = "", 0.0, 0.0

    def update(self, step: str, done: int, total: int | None) -> None:
        """`done` of `total` keys of `step`; the rate counts from when the step was first told of."""
        if not self._shown:
            return
        now = time.monotonic()
        if step != self._step:
            self._step, self._began, self._next = step, now, 0.0
        if now >= self._next:
            self._next = now + EVERY
            self._write(_fitted(step, done, total, now - self._began, shutil.get_terminal_size().columns - 1))

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._step:
            self._write("")

    def _write(self, text: str) -> None:
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def watched(work: Callable[..., _Result], *, every: bool, **options: Any) -> _Result:
    """What `work` on one namespace, or `every`, returns with these `options`; how far it is, is on the line meanwhile."""
    line = ProgressLine()

    def show(progress: Progress) -> None:
        step = f"{progress.namespace}: {progress.step}" if every else progress.step
        line.update(step, progress.done, progress.total)

    try:
        return work(all_namespaces=every, on_progress=show, **options)
    finally:
        line.clear()


def _fitted(step: str, done: int, total: int | None, seconds: float, width: int) -> str:
    """As many of the parts as there is room for, the important ones first."""
    parts = [step]
    if total is None or total:
        parts.append(f"{done:,}" if total is None else f"{done * 100 // total}%")
    rate = done / seconds if seconds > 0.5 else 0.0
    if rate and total:
        parts.append(f"{_duration((total - done) / rate)} left")
    if total:
        parts.append(f"{done:,} of {total:,}")
    if rate:
        parts.append(f"{rate:,.0f}/s")
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 2 + len(part) <= width:
            text += "  " + part
    return text[:width]


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
