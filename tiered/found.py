"""What a read found below memory, and what a cache tier said on the way there."""

from __future__ import annotations

from typing import Any, NamedTuple

from tiered.replication.guard import Answer, Guard


class Found(NamedTuple):
    """What a read below memory found. `slot` is None for "known to be absent"; version 0 if nobody knows since when."""

    slot: tuple[Any, ...] | None
    tier: str
    version: int


class Unproven(Found):
    """Found above a store of record that cannot be asked: there may have been a newer write."""


class Said(NamedTuple):
    """What a cache tier has said of a key: that it misses it (None), or nothing."""

    guard: Guard
    answer: Answer
