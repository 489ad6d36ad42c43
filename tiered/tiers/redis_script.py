"""The Lua scripts that write, and what one of them is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

from tiered.tiers.redis_wire import Arg

BATCH = 200
BATCH_BYTES = 1_000_000
LATE = -1
"""What put_if_newer.lua returns instead of results when its time has passed."""


class Put(NamedTuple):
    """A frame for a Redis key, with its life in ms."""

    name: str
    frame: bytes
    px: int


class Script:
    """A Lua script shipped beside this module."""

    def __init__(self, name: str) -> None:
        self.text = files("tiered.tiers").joinpath(name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


PUT, DISCARD = Script("put_if_newer.lua"), Script("discard.lua")


def put_arguments(items: Sequence[Put], not_after: int, channel: str) -> list[Arg]:
    """What `PUT` is given besides the keys of `items`."""
    return [str(not_after), channel, *(arg for item in items for arg in (item.frame, str(item.px)))]


def time_limits(frames: Sequence[bytes]) -> int:
    """How many a script with all of these has: as many as `batches` of them, which go out one after the other."""
    return 1 + len(frames) // BATCH + sum(map(len, frames)) // BATCH_BYTES


def batches(items: Sequence[Put]) -> Iterator[Sequence[Put]]:
    """Runs of at most `BATCH` items and about `BATCH_BYTES` bytes: a script blocks the server while it runs."""
    start = size = 0
    for n, item in enumerate(items):
        if n > start and (n - start == BATCH or size + len(item.frame) > BATCH_BYTES):
            yield items[start:n]
            start, size = n, 0
        size += len(item.frame)
    if start < len(items):
        yield items[start:]
