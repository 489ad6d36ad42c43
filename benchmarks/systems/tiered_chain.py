"""tiered: memory, Redis, file; with its default options, and asking the record first."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.systems import MEMORY_ENTRIES
from tiered.backend import TieredBackend
from tiered.tiers.file import FileTier
from tiered.tiers.memory import MemoryTier
from tiered.tiers.redis import RedisTier

_BATCH = 1_000
_DEFAULTS = {name: it.default for name, it in inspect.signature(TieredBackend.__init__).parameters.items()}
DEADLINE: float = _DEFAULTS["deadline"]
STALENESS: float = _DEFAULTS["staleness"]


class TieredChain:
    """Every default: also the deadline of a call, the staleness bound, and sets that survive a power cut."""

    options: Mapping[str, Any] = {}

    def __init__(self, redis_url: str, directory: Path) -> None:
        self.record = FileTier(directory / "file")
        tiers = [MemoryTier(max_entries=MEMORY_ENTRIES), RedisTier(redis_url), self.record]
        self.backend = TieredBackend(tiers, **self.options)
        self.get, self.set, self.close = self.backend.get, self.backend.set, self.backend.close

    def fill(self, values: Mapping[str, str]) -> None:
        rows = list(values.items())
        for first in range(0, len(rows), _BATCH):
            self.backend.set_many(dict(rows[first : first + _BATCH]))

    def converged(self) -> bool:
        return self.backend.verify().converged


class TieredMeasured(TieredChain):
    """The record is on this host's disk, so it answers before Redis."""

    options: Mapping[str, Any] = {"read_order": "measured"}


class TieredFed(TieredChain):
    """And Redis gets what was written after the call has returned."""

    options: Mapping[str, Any] = {"read_order": "measured", "feed": "journal"}
