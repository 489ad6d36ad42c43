"""Cache tiers that fail on a seeded plan: a wrapper around any tier, for tests without servers."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.testing.chaos.faulty_leases import leases_of
from tiered.tiers.base import CacheTier, Tier, TierHealth

Place = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances per call, 0 to 1."""

    before: float = 0.0
    """It fails and nothing happened: `NotApplied`, or `StoreUnavailable` for a read."""
    after: float = 0.0
    """It happened and the reply was lost: `Ambiguous`, or `StoreUnavailable` for a read."""
    late: float = 0.0
    """Puts: `Ambiguous` now, applied up to `late_by` calls later."""
    late_by: int = 20
    delay: float = 0.0
    """It takes `seconds` longer."""
    seconds: float = 0.02
    evict: float = 0.0
    """Reads: the key is dropped first."""
    old: float = 0.0
    """Reads: the frame that was there before the newest, without a word. No store can survive this; a checker sees it."""


class _Put(NamedTuple):
    """A put of one frame."""

    scope: str
    key: str
    frame: bytes
    since: float | None
    tell: bool


class Faulty:
    """What fails by `faults`, which may be replaced at any time. Thread-safe.

    Repeatable by `seed` as far as the order of its calls is. `counts` says how often each fault happened.
    """

    def __init__(self, inner: Tier, faults: Faults | None, seed: int, sleep: Callable[[float], None]) -> None:
        self.name, self.faults = inner.name, faults or Faults()
        self.counts: Counter[str] = Counter()
        self._around, self._sleep, self._random = inner, sleep, random.Random(seed)
        self._lock = Lock()  # guards the random numbers, and what a subclass has
        self.leases = leases_of(inner, self._enter, self._leave)

    def probe(self) -> str:
        if self._happens("before"):
            raise StoreUnavailable("failed on purpose", tier=self.name, reason=Reason.CONNECTION)
        return self._around.probe()

    def health(self) -> TierHealth:
        return self._around.health()

    def close(self) -> None:
        self._around.close()

    def _enter(self, error: type[StoreError]) -> None:
        """What happens before every call: a delay, a failure without effect."""
        if self._happens("delay"):
            self._sleep(self.faults.seconds)
        if self._happens("before"):
            raise error("failed on purpose, without effect", tier=self.name, reason=Reason.CONNECTION)

    def _leave(self, error: type[StoreError]) -> None:
        if self._happens("after"):
            raise error("failed on purpose, after it was done", tier=self.name, reason=Reason.TIMEOUT)

    def _happens(self, fault: str) -> bool:
        chance: float = getattr(self.faults, fault)
        if not chance:
            return False
        with self._lock:
            happens = self._random.random() < chance
            self.counts[fault] += happens
        return happens


class FaultyTier(Faulty):
    """A cache tier around `inner` that fails by `faults`."""

    def __init__(
        self,
        inner: CacheTier,
        faults: Faults | None = None,
        *,
        seed: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner, faults, seed, sleep)
        self._inner = inner
        self._calls = 0
        self._late: list[tuple[int, _Put]] = []
        self._lives: defaultdict[Place, int] = defaultdict(int)
        self._frames: dict[Place, bytes] = {}
        self._before: dict[Place, bytes] = {}
        self._snapshot: dict[Place, bytes] = {}
        self._runs, self._believed = 1, True

    # What a test does to it

    def snapshot(self) -> None:
        """Remember what is held now, for `restore`."""
        with self._lock:
            self._snapshot = dict(self._frames)

    def restore(self) -> None:
        """Come back with the data of the last `snapshot`, as a server does that restarts from an old file.

        Like `RedisTier`, it refuses every call with `Reason.RESTARTED` until a probe has learnt its new identity.
        """
        with self._lock:
            self._believed = False
            self._late.clear()
            for place in self._frames:
                self._lives[place] += 1
            old = self._frames = dict(self._snapshot)
            self._before.clear()
        for (scope, key), frame in old.items():
            self._inner.put_many(self._alive(scope, key), [(key, frame)])
        with self._lock:
            self._runs += 1

    def apply_late(self) -> None:
        """Apply every put that is still under way."""
        with self._lock:
            due, self._late = [put for _, put in self._late], []
        self._apply(due)

    # The tier protocol

    def get(self, scope: str, key: str) -> bytes | None:
        return self.get_many(scope, [key])[0]

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        self._enter(StoreUnavailable)
        for key in keys:
            if self._happens("evict"):
                self._evict(scope, key)
        frames = [self._read(scope, key) for key in keys]
        self._leave(StoreUnavailable)
        return frames

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        self._enter(NotApplied)
        puts = [_Put(scope, key, frame, since, tell) for key, frame in items]
        if self._happens("late"):
            with self._lock:
                due = self._calls + self._random.randint(1, self.faults.late_by)
                self._late += [(due, put) for put in puts]
            raise Ambiguous("timed out; it arrives later", tier=self.name, reason=Reason.TIMEOUT)
        accepted = [self._put(put) for put in puts]
        self._leave(Ambiguous)
        return accepted

    def forget(self, scope: str) -> None:
        self._inner.forget(scope)

    def probe(self) -> str:
        identity = super().probe()
        with self._lock:
            self._believed = True
            return f"{identity}-{self._runs}"

    # Private

    def _enter(self, error: type[StoreError]) -> None:
        """Before that, late puts that are due."""
        with self._lock:
            self._calls += 1
            due = list(put for at, put in self._late if at <= self._calls)
            self._late = list((at, put) for at, put in self._late if at > self._calls)
            believed = self._believed
        self._apply(due)
        if not believed:
            raise error("another run answers", tier=self.name, reason=Reason.RESTARTED)
        super()._enter(error)

    def _apply(self, puts: list[_Put]) -> None:
        for put in puts:
            with suppress(StoreError):  # nobody is waiting for the answer any more
                self._put(put)

    def _put(self, put: _Put) -> bool:
        scope, key, frame, since, tell = put
        (accepted,) = self._inner.put_many(self._alive(scope, key), [(key, frame)], since=since, tell=tell)
        if accepted:
            with self._lock:
                place = scope, key
                if place in self._frames:
                    self._before[place] = self._frames[place]
                self._frames[place] = frame
        return accepted

    def _read(self, scope: str, key: str) -> bytes | None:
        with self._lock:
            before = self._before.get((scope, key))
        if before is not None and self._happens("old"):
            return before
        return self._inner.get(self._alive(scope, key), key)

    def _evict(self, scope: str, key: str) -> None:
        """A tier cannot be told to drop one key, so the key goes on in a new scope, with nothing in it."""
        with self._lock:
            self._lives[scope, key] += 1
            self._frames.pop((scope, key), None)
            self._before.pop((scope, key), None)

    def _alive(self, scope: str, key: str) -> str:
        with self._lock:
            life = self._lives.get((scope, key), 0)
        return f"{scope}~{life}" if life else scope
