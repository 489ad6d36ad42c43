"""tiered with its default options: memory, Redis, file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.outage.system import MEMORY_ENTRIES
from tiered import FileTier, MemoryTier, RedisTier, TieredBackend
from tiered.tiers.base import Tier

_BATCH = 1_000


class Stack:
    """Every default: the deadline of 1 s, sets that survive a power cut."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        tiers: list[Tier] = [MemoryTier(max_entries=MEMORY_ENTRIES), RedisTier(redis_url), FileTier(directory / "file")]
        self.backend = TieredBackend(tiers)
        self.get, self.close = self.backend.get, self.backend.close

    def set(self, key: str, value: str) -> None:
        self.backend.set(key, value)

    def fill(self, values: Mapping[str, str]) -> None:
        rows = list(values.items())
        for first in range(0, len(rows), _BATCH):
            self.backend.set_many(dict(rows[first : first + _BATCH]))
