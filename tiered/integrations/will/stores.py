"""One open store per chain and process: Will builds a storage object for every plugin, and forks for every message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from multiprocessing import parent_process, util
from typing import Any

from tiered.backend import TieredBackend
from tiered.config import tiers_and_options
from tiered.errors import ConfigError, StoreError
from tiered.tiers.base import Tier
from tiered.tiers.memory import MemoryTier

logger = logging.getLogger(__name__)


class Stores:
    """The stores of this process by their settings; a child after a fork goes on with its parent's. Thread-safe."""

    def __init__(self) -> None:
        self._open: dict[str, TieredBackend] = {}
        self._tidy_at_exit()
        # A child of multiprocessing forgets what is to be done at its exit.
        util.register_after_fork(self, Stores._tidy_at_exit)

    def open(self, settings: Mapping[str, Any]) -> TieredBackend:
        """The store that `settings`, a `url` and options, describe, without network I/O; raises `ConfigError`."""
        name = repr(sorted(settings.items()))
        store = self._open.get(name)
        if store is None:
            made = _build(settings)
            store = self._open.setdefault(name, made)
            if store is not made:  # another thread was faster
                made.close()
        return store

    def close(self) -> None:
        """Close them all."""
        while self._open:
            self._open.popitem()[1].close()

    def _tidy_at_exit(self) -> None:
        util.Finalize(None, self._at_exit, exitpriority=10)

    def _at_exit(self) -> None:
        """A child ends here while threads of a plugin may still be at work: its stores stay open."""
        if parent_process() is None:
            self.close()
        else:
            self._flush()

    def _flush(self) -> None:
        """Write down what cache tiers have confirmed; else every message would leave work behind for the others."""
        for store in list(self._open.values()):
            journal = store._core.chain.record.journal
            try:
                if journal is not None:
                    journal.flush()
            except StoreError as error:
                logger.warning("what cache tiers have confirmed could not be written down: %s", error)


def _build(settings: Mapping[str, Any]) -> TieredBackend:
    tiers, options = tiers_and_options(settings["url"], settings)
    return TieredBackend._over(_without_memory(tiers), options)


def _without_memory(tiers: list[Tier]) -> list[Tier]:
    """Will changes a list by loading and saving it, in many processes, most of which live for one message.

    Memory of one process may be older than what another has just saved, by up to the staleness bound: that is fine for
    a cache, but a list that is saved again with it loses what was appended meanwhile.
    """
    kept = [tier for tier in tiers if not isinstance(tier, MemoryTier)]
    if not kept:
        raise ConfigError("memory:// alone forgets with every process, and Will has many; add redis:// or file:")
    if len(kept) < len(tiers):
        logger.info("memory:// is left out for Will, whose processes save what they loaded a moment ago")
    return kept


STORES = Stores()
