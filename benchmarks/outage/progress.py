"""How far the run is, on standard error."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts finished parts; the time left assumes that the others take as long on average."""

    def __init__(self, parts: int) -> None:
        self._parts, self._done, self._start = parts, 0, time.monotonic()
        self._name = ""

    def begin(self, name: str) -> None:
        self._name = name

    def tell(self, stage: str) -> None:
        left = ""
        if self._done:
            each = (time.monotonic() - self._start) / self._done
            left = f", about {each * (self._parts - self._done):.0f} s left"
        print(f"[{self._done + 1} of {self._parts}{left}] {self._name}: {stage}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        self._done += 1
