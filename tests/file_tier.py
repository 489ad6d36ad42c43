"""What the tests of the file tier share: a store on a real disk, and short ways to write to it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.clocks import HandClock
from tiered.entry import Draft, draft, namespace_seed
from tiered.tiers.base import Write
from tiered.tiers.file import FileTier
from tiered.tiers.sqlite import Connection

SEED = namespace_seed("n")
NOW = 1_000_000


def open_tier(directory: Path) -> FileTier:
    return FileTier(directory, clock=HandClock(NOW / 1000 - 1_700_000_000))


def value(key: str, payload: bytes = b"v", expires_at: int = 0) -> Draft:
    return draft(SEED, key, payload, 1, expires_at=expires_at)


def put(tier: FileTier, key: str, payload: bytes = b"v", *, expect: int | None = None, expires_at: int = 0) -> int:
    """Write one value; returns its version."""
    done = tier.commit("n", [Write(key, value(key, payload, expires_at), expect)], now=NOW)
    return done.written[0].version


def frame(key: str, version: int, keep_until: int = 0) -> bytes:
    return draft(SEED, key, b"v", 1, keep_until=keep_until).seal(version)


def connection(tier: FileTier) -> Connection:
    """The one that writes."""
    assert tier._writer._session is not None
    return tier._writer._session.connection


def files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
