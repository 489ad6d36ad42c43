"""How far a comparison has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """`done` of `total` keys (None: unknown; 0: nothing to count) of one step, e.g. "comparing", in one namespace."""

    namespace: str
    step: str
    done: int
    total: int | None


OnProgress = Callable[[Progress], None]
"""Called in the caller's thread after each page, which may be hundreds of times a second; what it raises ends the work."""
