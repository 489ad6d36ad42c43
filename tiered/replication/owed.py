"""What a cache tier is owed: keys that reads skip there until it accepted their newest version (R9, R10, R12)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from time import monotonic
from typing import NamedTuple

from tiered.entry import MAX_VERSION


class Debt(NamedTuple):
    """A key that the tier lacks in `version`, and perhaps in another that nobody knows."""

    namespace: str
    key: str
    version: int
    doubt: bool
    """A write may have happened (`Ambiguous`): only the record can tell what is owed."""
    ticket: int
    """Of the last time it grew: whoever settles an older sight of it settles nothing (R12)."""


class Owed:
    """Owed keys of one tier. Thread-safe and bounded.

    Past `limit` keys it stops counting and is `lost`: then every key is owed until the tier gets a new generation.
    Losing track costs speed, never truth.
    """

    def __init__(self, limit: int = 100_000, *, now: Callable[[], float] = monotonic) -> None:
        self.lost = False
        self.ticket = 0
        """The last one given."""
        self.limit, self._now = limit, now
        self._debts: dict[tuple[str, str], tuple[int, bool, int, int, float]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._debts)

    def __bool__(self) -> bool:
        return self.lost or bool(self._debts)

    def __contains__(self, where: tuple[str, str]) -> bool:
        return self.lost or where in self._debts

    def least(self, where: tuple[str, str]) -> int:
        """The lowest version that pays what is owed under `where`: 0 if nothing is, `MAX_VERSION` if nobody knows."""
        held = self._debts.get(where)
        if self.lost or (held is not None and held[1]):
            return MAX_VERSION
        return 0 if held is None else held[0]

    @property
    def age(self) -> float:
        """Seconds since the oldest debt was made; 0 without any."""
        with self._lock:
            oldest = next(iter(self._debts.values()), None)  # a debt that grows stays in its place
            return 0.0 if oldest is None else max(0.0, self._now() - oldest[4])

    def add(self, namespace: str, versions: Iterable[tuple[str, int]]) -> None:
        """The tier lacks these (key, version); `MAX_VERSION`: perhaps one that nobody knows."""
        debts, now = self._debts, self._now()
        with self._lock:
            for key, version in versions:
                where, doubt = (namespace, key), version == MAX_VERSION
                held = debts.get(where)
                if held is None:
                    if len(debts) >= self.limit:
                        self.lost = True
                    if self.lost:
                        return
                    held = (0, False, 0, self.ticket + 1, now)
                elif version <= held[0]:
                    continue  # known; a reader that meets the debt again must not keep it from being settled
                self.ticket += 1
                debts[where] = (held[0] if doubt else version, doubt or held[1], self.ticket, *held[3:])

    def paid(self, namespace: str, versions: Iterable[tuple[str, int]]) -> None:
        """The tier holds these versions or newer ones now; a key that is owed a newer one stays owed (R1)."""
        with self._lock:
            self._forget_paid(namespace, versions)

    def _forget_paid(self, namespace: str, versions: Iterable[tuple[str, int]]) -> None:
        """With the lock; a function of its own, as `Writer._admit`."""
        debts = self._debts
        for key, version in versions:
            held = debts.get((namespace, key))
            if held is not None and held[0] <= version and not held[1]:
                del debts[namespace, key]

    def debts(self, until: int | None = None) -> list[Debt]:
        """All of them as they are now, or those that were there at ticket `until`, however they have grown since."""
        with self._lock:
            return list(
                Debt(namespace, key, version, doubt, ticket)
                for (namespace, key), (version, doubt, ticket, first, _) in self._debts.items()
                if until is None or first <= until
            )

    def settle(self, debt: Debt) -> None:
        """The record's present entry was put; clear the key if its debt has not grown since it was seen."""
        where = (debt.namespace, debt.key)
        with self._lock:
            held = self._debts.get(where)
            if held is not None and held[2] == debt.ticket:
                del self._debts[where]

    def recount(self) -> None:
        """Count again, for a tier that is about to get a new generation."""
        self.lost = False

    def forget(self) -> None:
        """A child after a fork begins with nothing; the record's marks tell it what it must know."""
        self._lock = Lock()
        self._debts, self.lost = {}, False
