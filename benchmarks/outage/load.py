"""The load of BASELINE.md: 95 % get and 5 % set, Zipf; every answer is judged where it arrives.

`Load.calls` says what to call and is told what came of it; whether threads or asyncio tasks make the calls is not its
business (see worker.py).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import accumulate, cycle

from benchmarks.outage.ledger import Ledger, number_of, text
from benchmarks.outage.plan import PHASES

_SETS = 0.05
_DRAWS = 400_000

Call = tuple[str, str | None]
"""A key, and the value to set; None to get."""
Outcome = str | Exception | None
"""The value that a get returned, or what a call raised."""


@dataclass(slots=True)
class Seen:
    """What one worker saw in one phase, or a sum of such. A call belongs to the phase that it ends in."""

    answered: int = 0
    """Calls that did what they should: neither an error nor a false miss."""
    longest: float = 0.0
    false_misses: int = 0
    stale_reads: int = 0
    oldest: float = 0.0
    """Of the stale reads: seconds since the first acknowledged write that the worst of them missed."""
    acknowledged: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: Seen) -> None:
        self.answered += other.answered
        self.longest = max(self.longest, other.longest)
        self.false_misses += other.false_misses
        self.stale_reads += other.stale_reads
        self.oldest = max(self.oldest, other.oldest)
        self.acknowledged += other.acknowledged
        self.errors += other.errors


class Load:
    """What `workers` do to a system at the same time, and what they see. The seed repeats the keys, not the timing."""

    def __init__(self, *, keys: int, seed: int, workers: int) -> None:
        self.ledger = Ledger(keys)
        self.workers = workers
        self.stopped = False
        self._began: dict[str, float] = {}
        self._ended = 0.0
        self._weights = list(accumulate((rank + 1) ** -0.99 for rank in range(keys)))
        self._plans = [self._plan(random.Random(f"{seed}:{n}")) for n in range(workers)]
        self._seen = {phase: [Seen() for _ in range(workers)] for phase in PHASES}
        self.enter(PHASES[0])

    def filling(self) -> dict[str, str]:
        """What the system holds from the start."""
        return {key: text(1) for key in self.ledger.keys}

    def enter(self, phase: str) -> None:
        """Calls that end from now on belong to `phase`."""
        self._began[phase] = time.monotonic()
        self._now = self._seen[phase]

    def stop(self) -> None:
        """Every worker's next call is not made."""
        self._ended = time.monotonic()
        self.stopped = True

    def calls(self, worker: int) -> Generator[Call, Outcome, None]:
        """The calls of one worker until `stop`; send what came of each. Raises for a value that nobody wrote."""
        for key, write in cycle(self._plans[worker]):
            if self.stopped:
                return
            if not write:
                yield from self._get(key, worker)
            elif (number := self.ledger.begin(key)) is not None:
                yield from self._set(key, number, worker)

    def seen(self, *phases: str) -> Seen:
        """The sum over all workers and `phases`."""
        total = Seen()
        for phase in phases:
            for one in self._seen[phase]:
                total.add(one)
        return total

    def rate(self, phase: str) -> float:
        """Answered calls per second of a phase that is over."""
        began = self._began[phase]
        ended = min((at for at in self._began.values() if at > began), default=self._ended)
        return self.seen(phase).answered / (ended - began)

    def _plan(self, rng: random.Random) -> list[tuple[int, bool]]:
        drawn = rng.choices(range(len(self.ledger.keys)), cum_weights=self._weights, k=_DRAWS // self.workers)
        return [(key, rng.random() < _SETS) for key in drawn]

    def _get(self, key: int, worker: int) -> Generator[Call, Outcome, None]:
        floor = self.ledger.acknowledged[key]  # before the call: what is acknowledged meanwhile may be missed
        began = time.monotonic()
        value = yield self.ledger.keys[key], None
        seen = self._took(worker, began)
        if value is None:
            seen.false_misses += 1
        elif isinstance(value, Exception):
            seen.errors[type(value).__name__] += 1
        else:
            seen.answered += 1
            number = number_of(value)
            if number < floor:
                seen.stale_reads += 1
                seen.oldest = max(seen.oldest, self.ledger.age(key, number, began))
            elif number > floor:
                self.ledger.check(key, number)

    def _set(self, key: int, number: int, worker: int) -> Generator[Call, Outcome, None]:
        began = time.monotonic()
        raised = yield self.ledger.keys[key], text(number)
        seen = self._took(worker, began)
        done = not isinstance(raised, Exception)
        self.ledger.end(key, number, acknowledged=done)
        if done:
            seen.answered += 1
            seen.acknowledged += 1
        else:
            seen.errors[type(raised).__name__] += 1

    def _took(self, worker: int, began: float) -> Seen:
        seen, took = self._now[worker], time.monotonic() - began
        if took > seen.longest:
            seen.longest = took
        return seen
