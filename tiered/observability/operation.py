"""The operations of a store: how their calls ended, and how long they took."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from tiered.errors import StoreError
from tiered.observability.histogram import Histogram

if TYPE_CHECKING:
    from tiered.observability.stats import StoreStats

READ_OPS = ("get", "get_many")
WRITE_OPS = ("set", "add", "set_many", "delete", "update")
"""Operations of a store. `update` includes `touch` and `increment`; what `get_or_set` stores is a `set`."""


class OperationStats:
    """The calls of one operation, by how they ended, and how long they took."""

    __slots__ = ("degraded", "duration", "errors", "ok")

    def __init__(self) -> None:
        self.duration = Histogram()
        self.reset()

    def reset(self) -> None:
        self.ok = self.degraded = self.errors = 0
        self.duration.reset()

    def succeeded(self, seconds: float, *, degraded: bool = False) -> None:
        """`degraded`: a tier did not take a write, which is queued for it."""
        if degraded:
            self.degraded += 1
        else:
            self.ok += 1
        self.duration.observe(seconds)

    def failed(self, seconds: float) -> None:
        self.errors += 1
        self.duration.observe(seconds)


class Operation:
    """One call under way, for a `with`: counted and timed at its end if it went well or a tier failed it."""

    __slots__ = ("_began", "_keys", "_op", "_stats", "degraded")

    def __init__(self, stats: StoreStats, op: str, keys: int) -> None:
        self._stats, self._op, self._keys, self.degraded = stats, stats.operations[op], keys, False

    def __enter__(self) -> Operation:
        self._began = monotonic()
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        seconds = monotonic() - self._began
        if error is None:
            self._op.succeeded(seconds, degraded=self.degraded)
        elif isinstance(error, StoreError):
            self._stats.read_errors += self._keys
            self._op.failed(seconds)
