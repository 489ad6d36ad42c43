"""Drafts: what a write is to commit, with everything checked that can be before any I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zlib import crc32

from tiered.arguments import Ttl, check_key, check_keys, expiry
from tiered.chain import Chain, Space
from tiered.changing import check_free, innermost
from tiered.entry import Draft
from tiered.errors import InvalidValue
from tiered.tiers.base import Write

_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


def own(value: Any) -> Any:
    """`value` as it is now: memory holds a flat dict as it is, and its owner may change it while the write waits.

    What is nested, memory holds as the payload.
    """
    return value.copy() if type(value) is dict else value


class Drafter:
    """Makes the writes of one namespace; raises `InvalidKey`, `InvalidValue`, `InvalidTtl`. Thread-safe."""

    def __init__(self, chain: Chain, space: Space) -> None:
        self._chain, self._space = chain, space

    def one(self, key: str, value: Any, ttl: Ttl, expect: int | None = None) -> Write:
        """A write of `value`, on the condition `expect` (see `Write`)."""
        (write,) = self.several(((key, value),), ttl)
        return write if expect is None else write._replace(expect=expect)

    def several(self, items: Iterable[tuple[str, Any]], ttl: Ttl) -> list[Write]:
        """A write of each, all with one expiry."""
        expires_at = 0 if ttl is None else expiry(ttl, self._chain.clock.now())
        chain, frames, writes = self._chain, self._space.frames, list[Write]()
        limit, most, codec = chain.max_key_bytes, chain.rules.max_size, chain.codec
        change = innermost.get()
        seed, plain, encode, codec_id = frames.seed, frames.plain, codec.encode, codec.id
        for key, value in items:
            # Most keys are right at a glance, here and in `Core.find`, without a call.
            if type(key) is not str or not key.isascii() or not 0 < len(key) <= limit:
                key = check_key(key, limit)
            if change is not None:
                check_free(change, self._space, key)
            payload = encode(value)
            if len(payload) > most:
                raise InvalidValue(
                    f"the value takes {len(payload)} bytes, more than the limit of {most} (max_value_bytes); split it or"
                    " raise the limit"
                )
            if plain:
                checksum = crc32(payload, crc32(key.encode(), seed))
                draft = _new(Draft, (0, codec_id, expires_at, expires_at, payload, checksum, None))
            else:
                draft = frames.draft(key, payload, codec_id, expires_at)
            writes.append(_new(Write, (key, draft, None, None, None)))
        return writes

    def tombstones(self, keys: Iterable[str]) -> list[Write]:
        """A delete of each of `keys`, without repetitions."""
        frames, now, change = self._space.frames, self._chain.clock.now(), innermost.get()
        wanted = check_keys(keys, self._chain.max_key_bytes)
        for key in wanted if change is not None else ():
            check_free(change, self._space, key)
        return [Write(key, frames.tombstone(key, now)) for key in wanted]
