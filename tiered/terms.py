"""What a caller of `get_or_set` asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from tiered.arguments import Ttl, lifetime, ttl_seconds
from tiered.errors import InvalidTtl


def terms_of(ttl: Ttl, stale_ttl: Ttl, refresh_ahead: Ttl) -> tuple[Ttl, int, int]:
    """The `ttl`, `stale` and `ahead` of a `Job`, checked before any I/O; raises `InvalidTtl`."""
    try:
        return _checked(ttl, stale_ttl, refresh_ahead)
    except InvalidTtl:  # which is a TypeError, too
        raise
    except TypeError:  # unhashable, so certainly no time
        return _checked.__wrapped__(ttl, stale_ttl, refresh_ahead)


def _now(call: Callable[[], None]) -> None:
    call()


class Job(NamedTuple):
    """What is to be done for a key that is absent, or will be soon. `stale` and `ahead` are milliseconds, 0 = not asked for."""

    loader: Callable[[], Any]
    ttl: Ttl
    stale: int
    ahead: int
    background: bool = False
    later: Callable[[Callable[[], None]], None] = _now
    """Does what nobody need wait for; never in a way that can be given up."""


@lru_cache(maxsize=1024, typed=True)  # a hit in memory takes less time than these checks
def _checked(ttl: Ttl, stale_ttl: Ttl, refresh_ahead: Ttl) -> tuple[Ttl, int, int]:
    lives = lifetime(ttl)
    ahead = _milliseconds(refresh_ahead)
    if ahead and (lives is None or ahead >= lives * 1000):
        raise InvalidTtl("refresh_ahead must be shorter than ttl, or every hit would load the value again")
    return ttl, _milliseconds(stale_ttl), ahead


def _milliseconds(span: float | timedelta | None) -> int:
    return 0 if span is None else max(1, round(ttl_seconds(span) * 1000))
