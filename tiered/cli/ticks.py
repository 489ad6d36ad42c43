"""One look every so many seconds, without drift, until it was enough or somebody pressed Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import count


def live() -> bool:
    """Whether standard output is a terminal that can be written over."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def ticks(every: float, number: int | None) -> Iterator[int]:
    """0 at once, then 1, 2 … `every` seconds apart, up to `number` of them."""
    began = time.monotonic()
    for tick in count() if number is None else range(number):
        time.sleep(max(0.0, began + tick * every - time.monotonic()))
        yield tick
