"""Checks of what callers hand in, before any I/O: keys, namespaces, times to live."""

from __future__ import annotations

import re
from datetime import timedelta
from math import isfinite

from tiered.errors import ConfigError, InvalidKey

Ttl = float | timedelta | None
MAX_TTL = 100 * 365 * 86_400.0
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _Keep:
    def __repr__(self) -> str:
        return "KEEP"


KEEP = _Keep()
"""For `update` and `increment`: leave the expiry as it is."""


def check_key(key: object, limit: int) -> str:
    """`key` if it can be stored: a str of 1 to `limit` UTF-8 bytes without lone surrogates."""
    if not isinstance(key, str):
        raise InvalidKey(f"a key must be a str, not {type(key).__name__}")
    if not key:
        raise InvalidKey("a key must not be empty")
    if len(key) > limit:
        raise InvalidKey(f"a key of {len(key)} characters is longer than {limit} UTF-8 bytes; hash it or shorten it")
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKey("a key must be valid Unicode: it has a lone surrogate, which no encoding can store") from None
    if size > limit:
        raise InvalidKey(f"a key of {size} UTF-8 bytes is longer than {limit}; hash it or shorten it")
    return key if type(key) is str else str(key)


def check_namespace(name: object) -> str:
    """`name` if it can be a namespace: 1 to 64 letters, digits, dots, underscores and dashes."""
    if not isinstance(name, str) or not _NAMESPACE.fullmatch(name):
        raise ConfigError(f"namespace {name!r:.80}: use 1 to 64 ASCII letters, digits, '.', '_' and '-'")
    return name


def expiry(ttl: Ttl, now: int) -> int:
    """The Unix ms at which something with `ttl` (seconds or timedelta) expires; 0 for None."""
    return 0 if ttl is None else now + max(1, round(ttl_seconds(ttl) * 1000))


def ttl_seconds(ttl: float | timedelta) -> float:
    """`ttl` in seconds if it is a finite number greater than zero (and at most 100 years), else ValueError."""
    if isinstance(ttl, timedelta):
        ttl = ttl.total_seconds()
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise ValueError(f"ttl must be seconds (int or float), a timedelta or None, not {type(ttl).__name__}")
    if not isfinite(ttl) or ttl <= 0 or ttl > MAX_TTL:
        raise ValueError(
            f"ttl must be greater than 0 and at most 100 years in seconds, not {ttl!r}; None means no expiry"
        )
    return float(ttl)
