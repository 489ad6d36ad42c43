"""Whether a Redis that is the store of record keeps what it has acknowledged."""

from __future__ import annotations

import logging
from threading import Lock

from tiered.errors import StoreError
from tiered.tiers.redis_link import Link

logger = logging.getLogger(__name__)

ADVICE = (
    "the store of record has no append-only file: when it restarts, it loses what it acknowledged since its last snapshot;"
    " set appendonly yes (docs/redis.md)"
)


class Durability:
    """Asks the server before the first commit, and tells the log once if it is not durable. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.appendonly: bool | None = None
        """None before it was asked, or while it cannot say."""
        self._told = Lock()  # taken by whoever tells, and never given back

    def look(self, server: Link) -> None:
        """Raises nothing: a server that cannot say is asked again before the next commit."""
        try:
            facts: bytes = server.call("INFO", "persistence")
        except StoreError:
            return
        if b"aof_enabled:" in facts:
            self.appendonly = b"aof_enabled:1" in facts
            if not self.appendonly and self._told.acquire(blocking=False):
                logger.warning("%s: %s", self._name, ADVICE)
