"""Whether a Redis that is the store of record keeps what it has acknowledged."""

from __future__ import annotations

import logging

from tiered.errors import StoreError
from tiered.tiers.redis_link import Link

logger = logging.getLogger(__name__)

ADVICE = (
    "the store of record has no append-only file: when it restarts, it loses what it acknowledged since its last snapshot;"
    " set appendonly yes (docs/redis.md)"
)


class Durability:
    """Asks the server once, before the first commit, and tells the log if it is not durable."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.appendonly: bool | None = None
        """None before it was asked, or while it cannot say."""

    def look(self, server: Link) -> None:
        """Raises nothing: a server that cannot say is asked again before the next commit."""
        try:
            facts: bytes = server.call("INFO", "persistence")
        except StoreError:
            return
        if b"aof_enabled:" in facts:
            self.appendonly = b"aof_enabled:1" in facts
            if not self.appendonly:
                logger.warning("%s: %s", self._name, ADVICE)
