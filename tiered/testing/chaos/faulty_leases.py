"""Leases that fail as their tier does."""

from __future__ import annotations

from collections.abc import Callable

from tiered.errors import Ambiguous, NotApplied, StoreError
from tiered.tiers.base import Leasing, Tier

Step = Callable[[type[StoreError]], None]


class FaultyLeases:
    """The leases of a tier; `enter` and `leave` are what happens before and after each call."""

    def __init__(self, inner: Leasing, enter: Step, leave: Step) -> None:
        self.expires = inner.expires
        self._inner, self._enter, self._leave = inner, enter, leave

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        self._enter(NotApplied)
        taken = self._inner.take(namespace, key, token, ttl)
        self._leave(Ambiguous)
        return taken

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        self._enter(NotApplied)
        extended = self._inner.extend(namespace, key, token, ttl)
        self._leave(Ambiguous)
        return extended

    def release(self, namespace: str, key: str, token: str) -> None:
        self._enter(NotApplied)
        self._inner.release(namespace, key, token)
        self._leave(Ambiguous)


def leases_of(tier: Tier, enter: Step, leave: Step) -> FaultyLeases | None:
    """Those of `tier`, if it gives any."""
    inner: Leasing | None = getattr(tier, "leases", None)
    return None if inner is None else FaultyLeases(inner, enter, leave)
