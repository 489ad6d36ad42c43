"""A remote cache tier, seen for comparison: past its guard, since what is owed is to be looked at, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from tiered.chain import Chain
from tiered.errors import Reason, StoreError
from tiered.replication.guard import Guard
from tiered.tiers.base import Enumerable
from tiered.verification.copies import Copy, Place, opened
from tiered.verification.pages import pages, patient
from tiered.verification.tally import Tally


class CacheSide:
    """The copies of one cache tier. Reads only; raises its `StoreError`."""

    def __init__(self, chain: Chain, guard: Guard, tally: Tally) -> None:
        self._chain, self.guard, self.tally = chain, guard, tally
        self.name = guard.name
        tally.enumerable = isinstance(guard.tier, Enumerable)

    def held(self, place: Place, generation: int, keys: Sequence[str]) -> list[Copy | None]:
        """The tier's copies of `keys`, in order."""
        frames, now = self._frames(f"{place.name}:{generation}", keys), self._chain.clock.now()
        return [opened(place, key, frame, now) for key, frame in zip(keys, frames, strict=True)]

    def alike(self, recorded: Copy, held: Copy) -> bool:
        """Whether two copies of one version are the same."""
        return bool(recorded.content == held.content)

    def all(self, place: Place, generation: int) -> Iterator[list[tuple[str, Copy]]]:
        """Everything that the tier holds, in pages; nothing if it cannot tell."""
        tier = self.guard.tier
        if not isinstance(tier, Enumerable):
            return
        scope = f"{place.name}:{generation}"
        for items in pages(lambda cursor, limit: tier.listing(scope, cursor, limit)):
            now = self._chain.clock.now()
            yield [(key, copy) for key, frame in items if (copy := opened(place, key, frame, now)) is not None]

    def owing(self, place: Place, keys: AbstractSet[str]) -> AbstractSet[str]:
        """Those of `keys` that nobody here reads from the tier, or that the record has marked as pending."""
        guard = self.guard
        if not guard.breaker.closed or guard.owed.lost:
            return keys
        owed = {key for key in keys if (place.name, key) in guard.owed}
        journal = self._chain.record.journal
        if journal is None:
            return owed
        return owed | {key for _, key in journal.still_pending(self.name, [(place.name, key) for key in keys])}

    def _frames(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        """In halves if all of it takes longer than the tier's timeout."""
        attempt = 0
        while True:
            try:
                return self.guard.tier.get_many(scope, keys)
            except StoreError as error:
                if error.reason is Reason.TIMEOUT and len(keys) > 1:
                    half = len(keys) // 2
                    return self._frames(scope, keys[:half]) + self._frames(scope, keys[half:])
                if not patient(error, attempt):
                    raise
                attempt += 1
