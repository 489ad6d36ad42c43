"""What a cache tier is owed: keys that reads skip there until it accepted their newest version (R9, R10, R12)."""

from __future__ import annotations

from threading import Lock

from tiered.entry import MAX_VERSION


class Owed:
    """Owed keys of one tier with the version it lacks. Thread-safe and bounded.

    Past `limit` keys it stops counting and is `lost`: then every key is owed until the tier gets a new generation.
    Losing track costs speed, never truth.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.lost = False
        self._limit = limit
        self._versions: dict[tuple[str, str], int] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._versions)

    def __bool__(self) -> bool:
        return self.lost or bool(self._versions)

    def __contains__(self, where: tuple[str, str]) -> bool:
        return self.lost or where in self._versions

    def add(self, namespace: str, key: str, version: int = MAX_VERSION) -> None:
        """The tier lacks `version` of `key`; without a version, whatever the record holds now."""
        where = (namespace, key)
        with self._lock:
            if len(self._versions) >= self._limit and where not in self._versions:
                self.lost = True
            if not self.lost:
                self._versions[where] = max(version, self._versions.get(where, 0))

    def paid(self, namespace: str, key: str, version: int) -> None:
        """The tier holds `version` or newer now; a key that is owed a newer one stays owed (R1)."""
        where = (namespace, key)
        if where in self._versions:
            with self._lock:
                if self._versions.get(where, 0) <= version:
                    self._versions.pop(where, None)

    def some(self, limit: int) -> list[tuple[str, str, int]]:
        """Up to `limit` owed keys: namespace, key, version."""
        with self._lock:
            return [(*where, version) for where, version in list(self._versions.items())[:limit]]

    def settle(self, namespace: str, key: str, version: int) -> None:
        """The record's present entry was put; clear the key if its debt is still the one that was seen."""
        with self._lock:
            if self._versions.get((namespace, key)) == version:
                del self._versions[(namespace, key)]

    def forgive(self) -> None:
        """A new generation makes what the tier held invisible: nothing is owed."""
        with self._lock:
            self._versions.clear()
            self.lost = False
