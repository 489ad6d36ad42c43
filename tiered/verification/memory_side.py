"""The memory tier of this process, seen for comparison: what it would serve at this moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from tiered.chain import Chain
from tiered.errors import Corrupt
from tiered.tiers.memory import Slot
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
        slots, now = self._slots(place), self._chain.clock.monotonic()
        return [_copy(slots.get(key), now) for key in keys]

    def alike(self, recorded: Copy, held: Copy) -> bool:
        """Whether two copies of one version are the same."""
        slot, entry = Slot._make(held.content), recorded.entry
        if entry is None or slot.expires_at != entry.expires_at:
            return False
        if slot.decode is not None:
            return bool(slot.value == entry.payload)
        # Bytes first, for NaN; values second, for sets, whose order is not that of the process that wrote them.
        return self._chain.codec.encode(slot.value) == entry.payload or self._equal(slot.value, recorded)

    def all(self, place: Place, generation: int) -> Iterator[list[tuple[str, Copy]]]:
        """Everything that memory holds, in pages, of the moment when this began."""
        slots = self._slots(place)
        keys = list(slots)  # atomic, so that writers may go on; as many references as memory may have entries
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            copies = self.held(place, generation, page)
            yield [(key, copy) for key, copy in zip(page, copies, strict=True) if copy is not None]

    def owing(self, place: Place, keys: AbstractSet[str]) -> AbstractSet[str]:
        """Nobody owes anything to memory."""
        return frozenset()

    def _slots(self, place: Place) -> dict[str, Any]:
        """Of a namespace that this process has not used: none, and it stays unused."""
        for space in self._chain.spaces():
            if space.name == place.name:
                return space.part.slots
        return {}

    def _equal(self, value: Any, recorded: Copy) -> bool:
        try:
            other = self._chain.decode(recorded.entry)  # type: ignore[arg-type]  # only called with an entry
        except Corrupt:
            return False
        return type(other) is type(value) and bool(other == value)


def _copy(slot: tuple[Any, ...] | None, now: float) -> Copy | None:
    if slot is None:
        return None
    known = Slot._make(slot)
    return Copy(known.version, False, slot) if known.deadline > now else None
