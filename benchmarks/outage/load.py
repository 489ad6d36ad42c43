"""The load of BASELINE: 95 % get and 5 % set, Zipf, four threads; every answer is judged where it arrives."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate, cycle

from benchmarks.outage.system import System

THREADS = 4
PHASES = ("warm", "before", "during", "after")
_SETS = 0.05
_PADDING = ":" + "v" * 250
_PLAN = 100_000


@dataclass(slots=True)
class Seen:
    """What one thread saw in one phase. A call belongs to the phase that it ends in."""

    calls: int = 0
    longest: float = 0.0
    false_misses: int = 0
    stale_reads: int = 0
    acknowledged: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def text(number: int) -> str:
    """The value that the `number`th write of a key stores."""
    return f"{number}{_PADDING}"


def number_of(value: str) -> int:
    """Which write of its key `value` is of."""
    return int(value.partition(":")[0])


class Load:
    """Calls a system until `stop`. Each key has one writing thread, so its writes have an order without any lock."""

    def __init__(self, system: System, *, keys: int, seed: int) -> None:
        self.keys = [f"user:{n}" for n in range(keys)]
        self.acknowledged = [1] * keys
        """Per key, the number of its last acknowledged write; `fill` was the first."""
        self.phase = "warm"
        self._tried = [1] * keys
        self._broken: list[BaseException] = []
        self._system, self._seed, self._stopped = system, seed, False
        self._weights = list(accumulate((rank + 1) ** -0.99 for rank in range(keys)))
        self._seen = {phase: [Seen() for _ in range(THREADS)] for phase in PHASES}
        self._plans = [self._plan(n) for n in range(THREADS)]
        self._threads = [threading.Thread(target=self._run, args=(n,), name=f"load-{n}") for n in range(THREADS)]

    def fill(self) -> None:
        self._system.fill({key: text(1) for key in self.keys})

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Raises what ended a thread early, such as a value that nobody wrote."""
        self._stopped = True
        for thread in self._threads:
            thread.join()
        if self._broken:
            raise self._broken[0]

    def seen(self, *phases: str) -> Seen:
        """The sum over all threads and `phases`."""
        total = Seen()
        for one in (seen for phase in phases for seen in self._seen[phase]):
            total.calls += one.calls
            total.longest = max(total.longest, one.longest)
            total.false_misses += one.false_misses
            total.stale_reads += one.stale_reads
            total.acknowledged += one.acknowledged
            total.errors += one.errors
        return total

    def written(self) -> dict[str, int]:
        """Every key that was written after `fill`, and the number of its last acknowledged write."""
        return {key: last for key, last in zip(self.keys, self.acknowledged, strict=True) if last > 1}

    def _plan(self, thread: int) -> list[tuple[int, bool]]:
        """Keys and whether to set. A key to set is moved to the nearest that belongs to `thread`."""
        rng = random.Random(f"{self._seed}:{thread}")
        drawn = rng.choices(range(len(self.keys)), cum_weights=self._weights, k=_PLAN)
        plan = []
        for key in drawn:
            write = rng.random() < _SETS
            plan.append((min(key - key % THREADS + thread, len(self.keys) - THREADS + thread) if write else key, write))
        return plan

    def _run(self, thread: int) -> None:
        try:
            self._work(thread)
        except BaseException as error:  # raised again by stop: a run without one of its threads must not count
            self._broken.append(error)

    def _work(self, thread: int) -> None:
        for key, write in cycle(self._plans[thread]):
            if self._stopped:
                return
            call = self._set if write else self._get
            start = time.perf_counter()
            verdict = call(key)
            took = time.perf_counter() - start
            seen = self._seen[self.phase][thread]
            seen.calls += 1
            if took > seen.longest:
                seen.longest = took
            if verdict is not None:
                self._note(seen, verdict)

    def _get(self, key: int) -> str | None:
        floor = self.acknowledged[key]  # read before the call begins: what is acknowledged meanwhile may be missed
        try:
            value = self._system.get(self.keys[key])
        except Exception as error:  # whatever a system raises is what its caller sees: counted and reported
            return f"error {type(error).__name__}"
        if value is None:
            return "miss"
        return "stale" if number_of(value) < floor else None

    def _set(self, key: int) -> str:
        number = self._tried[key] = self._tried[key] + 1
        try:
            self._system.set(self.keys[key], text(number))
        except Exception as error:  # as above
            return f"error {type(error).__name__}"
        self.acknowledged[key] = number
        return "acknowledged"

    @staticmethod
    def _note(seen: Seen, verdict: str) -> None:
        if verdict == "acknowledged":
            seen.acknowledged += 1
        elif verdict == "miss":
            seen.false_misses += 1
        elif verdict == "stale":
            seen.stale_reads += 1
        else:
            seen.errors[verdict.removeprefix("error ")] += 1
