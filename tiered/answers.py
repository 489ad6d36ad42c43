"""What a tier's answer means: a frame is opened, checked, and made a slot of memory."""

from __future__ import annotations

from typing import Any

from tiered.chain import Chain, Space
from tiered.errors import CodecError, Untrusted
from tiered.found import Found
from tiered.tiers.base import Absence

_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


class Answers:
    """Of the tiers of one chain. Thread-safe."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def of_cache(
        self, space: Space, key: str, frame: bytes, tier: str, started: float, until: float, events: int
    ) -> Found:
        """What the `frame` of a cache tier means that may be served `until` then, for a read of these (`Space.flights`)
        `events`; raises `CodecError`.

        A frame that was right once and that somebody put back is refused: memory held something newer before this read
        began. What it got since may be of a write that began before.
        """
        found = self._open(space, key, frame, tier, started, until)
        held = space.part.slots.get(key)
        if held is not None and held[3] > found[2] and held[5] <= started and not space.flights.floor(key, events):
            raise Untrusted("older than what this process has seen")
        return found

    def of_record(self, space: Space, key: str, held: bytes | Absence, started: float) -> Found:
        """What the record's answer means, counted; damage there is an error, never a miss."""
        name, stats = self._chain.record.name, self._chain.record_stats
        if type(held) is not bytes:
            stats.misses += 1
            return Found(None, name, held.version)  # type: ignore[union-attr]  # an Absence
        count = len(held)
        stats.read_bytes += count
        try:
            found = self._open(space, key, held, name, started, started + self._chain.trust.staleness)
        except CodecError as error:
            raise self._chain.unusable(error) from error
        if found[0] is None:
            stats.misses += 1
        else:
            stats.hits += 1
        return found

    def _open(self, space: Space, key: str, frame: bytes, tier: str, started: float, until: float) -> Found:
        chain = self._chain
        flags, codec, version, expires_at, _, payload = entry = space.frames.open(frame, key)
        if (flags or expires_at) and entry.absent(chain.clock.now()):
            slot = None
        elif codec == chain.codec.id:
            slot = chain.slot(key, chain.codec.decode(payload), payload, version, expires_at, started, until)
        else:
            raise chain.foreign(codec)
        return _new(Found, (slot, tier, version))  # type: ignore[no-any-return]  # Found
