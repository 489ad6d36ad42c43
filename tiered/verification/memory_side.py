"""The memory tier of this process, seen for comparison: what it would serve at this moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from tiered.chain import Chain, Space
from tiered.errors import CodecError
from tiered.tiers.partitions import Slot
from tiered.verification.copies import Copy, Place
from tiered.verification.tally import Tally

PAGE = 500


class MemorySide:
    """The copies in memory. Reads only, without the lock; raises nothing."""

    def __init__(self, chain: Chain, tally: Tally) -> None:
        self._chain, self.tally = chain, tally
        self.name = chain.memory.name

    def held(self, place: Place, generation: int, keys: Sequence[str]) -> list[Copy | None]:
        """Memory's copies of `keys`, in order; a slot that is no longer served counts as none."""
        space, now = self._space(place), self._chain.clock.monotonic()
        if space is None:
            return [None] * len(keys)
        slots = [space.part.slots.get(key) for key in keys]
        return [
            Copy(slot[3], False, slot) if slot is not None and self._until(space, slot) > now else None
            for slot in slots
        ]

    def alike(self, recorded: Copy, held: Copy) -> bool:
        """Whether two copies of one version are the same."""
        slot, entry = Slot._make(held.content), recorded.entry
        if entry is None or slot.expires_at != entry.expires_at:
            return False
        if type(slot.value) is bytes and slot.decode is not None:
            return bool(slot.value == entry.payload)
        # Bytes first, for NaN; values second, for sets, whose order is not that of the process that wrote them.
        return self._chain.codec.encode(slot.value) == entry.payload or self._equal(slot.value, recorded)

    def all(self, place: Place, generation: int) -> Iterator[list[tuple[str, Copy]]]:
        """Everything that memory holds, in pages, of the moment when this began."""
        space = self._space(place)
        # Atomic, so that writers may go on; as many references as memory may have entries.
        keys = [] if space is None else list(space.part.slots)
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            copies = self.held(place, generation, page)
            yield [(key, copy) for key, copy in zip(page, copies, strict=True) if copy is not None]

    def owing(self, place: Place, keys: AbstractSet[str]) -> AbstractSet[str]:
        """Nobody owes anything to memory."""
        return frozenset()

    def _space(self, place: Place) -> Space | None:
        """None if this process has not used the namespace; it stays unused."""
        return next((space for space in self._chain.spaces() if space.name == place.name), None)

    def _until(self, space: Space, slot: tuple[Any, ...]) -> float:
        """When a slot ceases to be served: its time may be over, and still be prolonged at the next read."""
        known = Slot._make(slot)
        if not space.subscribed:
            return known.deadline
        return max(known.deadline, min(self._chain.trust.memory_until(known.since), known.ends))

    def _equal(self, value: Any, recorded: Copy) -> bool:
        try:
            other = self._chain.decode(recorded.entry)  # type: ignore[arg-type]  # only called with an entry
        except CodecError:
            return False
        return type(other) is type(value) and bool(other == value)
