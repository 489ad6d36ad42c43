"""What can be known of a chain without the processes that use it: whether each tier answers, and what it still lacks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiered.errors import StoreError

if TYPE_CHECKING:
    from tiered.backend import TieredBackend
    from tiered.chain import Chain, Space
    from tiered.tiers.base import Tier

COUNTED = 10_000
"""Marks beyond which they are not counted any further."""


@dataclass(frozen=True, slots=True)
class TierCondition:
    """One tier, asked just now. `pending`: what the journal keeps for it; None where there is no journal to tell."""

    tier: str
    role: str
    ok: bool
    detail: str
    seconds: float
    pending: int | None
    bytes: int | None


def chain_of(store: TieredBackend) -> Chain:
    """The inside of a store: for operators' commands, which look and change nothing."""
    return store._core.chain


def space_of(store: TieredBackend) -> Space:
    """Its namespace, likewise."""
    return store._core.space


def conditions(store: TieredBackend) -> list[TierCondition]:
    """Of the tiers that are not in this process. Opens connections, and starts nothing in the background."""
    chain = chain_of(store)
    below: list[tuple[Tier, str]] = [(guard.tier, "cache") for guard in chain.guards]
    if chain.record is not chain.memory:
        below.append((chain.record, "record"))
    found = []
    for tier, role in below:
        began = time.perf_counter()
        state = tier.health()
        seconds = time.perf_counter() - began
        size = state.facts.get("bytes")
        found.append(
            TierCondition(
                tier.name,
                role,
                state.ok,
                state.detail,
                seconds,
                pending(chain, tier.name) if role == "cache" else 0,
                size if isinstance(size, int) else None,
            )
        )
    return found


def pending(chain: Chain, tier: str) -> int | None:
    """How many writes the journal keeps for a cache tier, up to one more than `COUNTED`."""
    journal = chain.record.journal
    if journal is None:
        return None
    try:
        return len(journal.pending(tier, limit=COUNTED + 1))
    except StoreError:
        return None  # the record's own condition says why
