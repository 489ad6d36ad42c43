"""In which order a read asks: as the chain is declared, or the store of record before cache tiers that measure slower.

A record on a local disk answers in a tenth of the time that a Redis over loopback takes. A read that passes a tier by for that
reason owes it nothing, unlike one that the tier failed (R9): as long as the tier is passed by, nothing old can come out of it.
Before it is asked again, what the record said meanwhile must be there or be owed there, which two looks at the pending
marks prove (`Trust.proven`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from tiered.replication.guard import UNANSWERED, Guard, Keyspace

if TYPE_CHECKING:
    from tiered.tiers.base import Record

TIMINGS = 9
"""So many of the last timings count; a change is believed when most of them agree."""
FACTOR = 2.0
"""A tier is passed by once it takes so many times as long as the record, and asked again when it is the faster one."""


class ReadOrder:
    """Which cache tiers reads ask before the record. Lists are replaced whole, so any thread may read them."""

    def __init__(
        self, guards: list[Guard], record: Record, *, measured: bool, timer: Callable[[], float] = perf_counter
    ) -> None:
        self.asked = guards
        self.passed: list[Guard] = []
        self.measured = measured and bool(guards)
        self.sample: tuple[Keyspace, str] | None = None
        """What was read last, below memory."""
        self._guards, self._record, self._timer = guards, record, timer
        self._times: dict[str, deque[float]] = {}

    def forget(self) -> None:
        """In a child after a fork: as declared again, and nothing measured."""
        self.asked, self.passed, self.sample = self._guards, [], None
        self._times.clear()

    def pass_by(self, space: Keyspace, key: str, asked: Sequence[Guard], now: float) -> None:
        """Before an answer is returned: it may be newer than what the tiers have that were not `asked`.

        The order may have changed since the read began.
        """
        self.sample = space, key
        for guard in self._guards:
            if guard not in asked:
                guard.passed_at = now

    def measure(self) -> None:
        """Read the sample everywhere, note how long each takes, and decide anew. For one thread; raises the record's errors."""
        if self.sample is None:
            return
        space, key = self.sample
        start = self._timer()
        self._record.read(space.name, key)
        self._note(self._record.name, self._timer() - start)
        for guard in self._guards:
            start = self._timer()
            if guard.attempt("measure", partial(guard.tier.get, space.scope, key)) is not UNANSWERED:
                self._note(guard.name, self._timer() - start)
        self._decide()

    def _decide(self) -> None:
        record = median(self._times[self._record.name])
        passed = [guard for guard in self._guards if self._is_slower(guard, record)]
        if passed != self.passed:
            self.asked, self.passed = [guard for guard in self._guards if guard not in passed], passed

    def _is_slower(self, guard: Guard, record: float) -> bool:
        times = self._times.get(guard.name)
        if times is None or len(times) < TIMINGS:
            return guard in self.passed
        return median(times) > record * (1.0 if guard in self.passed else FACTOR)

    def _note(self, tier: str, seconds: float) -> None:
        self._times.setdefault(tier, deque(maxlen=TIMINGS)).append(seconds)
