"""Entries that a cache tier does not take although it takes others: too large for its memory, its limits or its link.

They stay owed, here and by their pending marks in every process, so nobody reads them there, and are tried again after
pauses. They keep the tier from no other key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tiered.entry import MAX_VERSION, version_of
from tiered.replication.owed import Owed

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until such an entry is tried again: twice as long each time, as a server that is full may evict all else for it."""
SHOWN = 10
NAMED, NAMED_WITHIN = 10, 60.0
"""How many of them the log names in so many seconds: a master of a cluster that is full takes none of what is written to it."""

Where = tuple[str, str]


class Refusal(NamedTuple):
    """An entry that was put alone and not taken, by a tier that took another one then."""

    namespace: str
    key: str
    version: int
    bytes: int
    error: str
    pause: float
    until: float
    """Monotonic seconds: when it is tried again."""

    def __str__(self) -> str:
        return f"{self.key!r:.100} in namespace {self.namespace} ({self.bytes:,} bytes): {self.error}"


class Refusals:
    """Those of one tier. Thread-safe: each step is one operation of a dict. As many as are owed, at most."""

    def __init__(self, owed: Owed, *, now: Callable[[], float]) -> None:
        self._owed, self._now = owed, now
        self._held: dict[Where, Refusal] = {}
        self._room = 0
        self._named, self._named_until = 0, 0.0

    def begin(self, most: int) -> None:
        """A go in which so many may be found."""
        self._room = most

    @property
    def enough(self) -> bool:
        """Whether so many were found since."""
        return self._room <= 0

    def add(self, namespace: str, key: str, frame: bytes, error: str) -> bool:
        """Not taken, and owed; whether the log should name it: that is new, and few were."""
        before = self._held.get((namespace, key))
        pause = FIRST_PAUSE if before is None else min(2 * before.pause, LONGEST_PAUSE)
        refusal = Refusal(namespace, key, version_of(frame), len(frame), error, pause, self._now() + pause)
        self._held[namespace, key] = refusal
        self._room -= 1
        return before is None and self._few()

    def waits(self, namespace: str, key: str) -> bool:
        """Whether it is not to be tried now. What was written since is, and at once."""
        refusal = self._held.get((namespace, key))
        return refusal is not None and self._now() < refusal.until and self._holds(refusal)

    def all(self) -> list[Refusal]:
        """What is owed still in the version that was not taken; the rest is forgotten."""
        found = list(self._held.values())
        for refusal in found:
            if not self._holds(refusal):
                self._held.pop(refusal[:2], None)
        return [refusal for refusal in found if refusal[:2] in self._held]

    def report(self) -> tuple[list[dict[str, Any]], str]:
        """The largest of them for `health`, and in words."""
        found = sorted(self.all(), key=lambda refusal: -refusal.bytes)
        shown = [{name: getattr(it, name) for name in ("namespace", "key", "bytes", "error")} for it in found[:SHOWN]]
        more = f" (and {len(found) - 1:,} more)" if found[1:] else ""
        return shown, f"does not take {found[0]}{more}" if found else ""

    def hurry(self) -> None:
        """Let all be tried at once."""
        for where, refusal in list(self._held.items()):
            self._held[where] = refusal._replace(until=0.0)

    def forget(self) -> None:
        """In a child after a fork."""
        self._held = {}

    def _few(self) -> bool:
        now = self._now()
        if now >= self._named_until:
            self._named, self._named_until = 0, now + NAMED_WITHIN
        self._named += 1
        return self._named <= NAMED

    def _holds(self, refusal: Refusal) -> bool:
        least = self._owed.least(refusal[:2])
        return 0 < least <= refusal.version or least == MAX_VERSION
