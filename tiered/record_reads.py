"""The store of record asked for entries: timed, counted, and by so many at once that fall through the cache tiers."""

from __future__ import annotations

from collections.abc import Sequence

from tiered.chain import Chain, Space
from tiered.errors import Reason, StoreError, StoreUnavailable
from tiered.tiers.base import Absence

NO_VERSION = Absence(0, pending=True)


class RecordReads:
    """Of one chain. Thread-safe; raises what the record does."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._now = chain, chain.clock.monotonic
        self._took = chain.record_stats.durations["read"]

    def one(self, space: Space, key: str, began: float) -> tuple[int, bytes | None]:
        """The generation, and the frame of `key`; None is for `absences`."""
        try:
            answer = self._chain.record.read(space.name, key)
        except StoreError as error:
            self._chain.record_stats.failed("read", error.reason, self._now() - began, reads=1)
            raise
        self._took.observe(self._now() - began)
        return answer

    def absences(self, space: Space, keys: Sequence[str]) -> Sequence[bytes | Absence]:
        """Since which version the record has none of `keys` (R16); what was written meanwhile is there now."""
        journal = self._chain.record.journal
        if journal is None:
            return [NO_VERSION] * len(keys)
        generation, held = journal.absences(space.name, keys)
        self._chain.learn(space, generation)  # of this snapshot: marks that it lacks may have been given up (R8)
        return held

    def fallen_through(self, space: Space, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        """`several` for a read that comes from cache tiers, which as a rule keep most away from there; so many at once."""
        chain = self._chain
        if (place := chain.record_calls.acquire(timeout=chain.deadline)) is None:
            message = "too many calls wait for the store of record already; this one was not asked"
            raise StoreUnavailable(message, tier=chain.record.name, reason=Reason.BUSY)
        try:
            return self.several(space, keys)
        finally:
            chain.record_calls.release(place)

    def several(self, space: Space, keys: Sequence[str]) -> tuple[int, list[bytes | Absence]]:
        """The generation, and what there is of each of `keys`."""
        frames: list[bytes | None]
        if len(keys) == 1:
            generation, frame = self.one(space, keys[0], self._now())
            frames = [frame]
        else:
            generation, frames = self._many(space, keys)
        missing = [key for key, frame in zip(keys, frames, strict=True) if frame is None]
        absences = iter(self.absences(space, missing) if missing else ())
        return generation, [next(absences) if frame is None else frame for frame in frames]

    def _many(self, space: Space, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        chain, began = self._chain, self._now()
        try:
            answer = chain.record.read_many(space.name, keys)
        except StoreError as error:
            chain.record_stats.failed("read_many", error.reason, self._now() - began, reads=len(keys))
            raise
        chain.record_stats.timed("read_many", self._now() - began)
        return answer
