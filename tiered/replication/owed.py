"""What a cache tier is owed: keys that reads skip there until it accepted their newest version (R9, R10, R12)."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

from tiered.entry import MAX_VERSION


class Debt(NamedTuple):
    """A key that the tier lacks in `version` (`MAX_VERSION`: whatever the record holds)."""

    namespace: str
    key: str
    version: int
    ticket: int
    """Of the last time it was added: whoever settles an older sight of it settles nothing (R12)."""


class Owed:
    """Owed keys of one tier. Thread-safe and bounded.

    Past `limit` keys it stops counting and is `lost`: then every key is owed until the tier gets a new generation.
    Losing track costs speed, never truth.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.lost = False
        self._limit = limit
        self._debts: dict[tuple[str, str], Debt] = {}
        self._tickets = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._debts)

    def __bool__(self) -> bool:
        return self.lost or bool(self._debts)

    def __contains__(self, where: tuple[str, str]) -> bool:
        return self.lost or where in self._debts

    def add(self, namespace: str, key: str, version: int = MAX_VERSION) -> None:
        """The tier lacks `version` of `key`; without a version, whatever the record holds now."""
        where = (namespace, key)
        with self._lock:
            held = self._debts.get(where)
            if held is None and len(self._debts) >= self._limit:
                self.lost = True
            if self.lost:
                return
            self._tickets += 1
            known = version if held is None else max(version, held.version)
            self._debts[where] = Debt(namespace, key, known, self._tickets)

    def paid(self, namespace: str, key: str, version: int) -> None:
        """The tier holds `version` or newer now; a key that is owed a newer one stays owed (R1)."""
        where = (namespace, key)
        if where in self._debts:
            with self._lock:
                held = self._debts.get(where)
                if held is not None and held.version <= version:
                    del self._debts[where]

    def debts(self) -> list[Debt]:
        """All of them, as they are now."""
        with self._lock:
            return list(self._debts.values())

    def settle(self, debt: Debt) -> None:
        """The record's present entry was put; clear the key if nothing was added to its debt since it was seen."""
        where = (debt.namespace, debt.key)
        with self._lock:
            held = self._debts.get(where)
            if held is not None and held.ticket == debt.ticket:
                del self._debts[where]

    def recount(self) -> None:
        """Count again, for a tier that is about to get a new generation."""
        self.lost = False

    def forget(self) -> None:
        """A child after a fork begins with nothing; the record's marks tell it what it must know."""
        self._lock = Lock()
        self._debts, self.lost = {}, False
