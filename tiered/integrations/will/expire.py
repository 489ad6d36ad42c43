"""Will's `expire`, which it passes on as plugins give it, in seconds from now."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from tiered.arguments import MAX_TTL
from tiered.errors import InvalidTtl


def seconds_left(expire: Any, now: float) -> float | None:
    """Seconds that a value is to live, 0 if its time is over already, None for ever; raises `InvalidTtl`.

    `expire` is a number of seconds, also as a str, a timedelta, or a datetime (without a zone: local time, like Will's
    own). `now` is Unix seconds. More than the 100 years that a store can express is for ever.
    """
    if expire is None:
        return None
    seconds = _seconds(expire, now)
    if math.isnan(seconds):
        raise InvalidTtl("expire is not a number")
    return None if seconds > MAX_TTL else max(0.0, seconds)


def _seconds(expire: Any, now: float) -> float:
    if isinstance(expire, timedelta):
        return expire.total_seconds()
    if isinstance(expire, datetime):
        try:
            return expire.timestamp() - now
        except (OverflowError, ValueError):  # local time that is beyond the years 1 to 9999 in UTC
            return expire.replace(tzinfo=UTC).timestamp() - now
    if isinstance(expire, bool) or not isinstance(expire, (int, float, str, bytes)):
        kind = type(expire).__name__
        raise InvalidTtl(f"expire must be seconds (a number, also as a str), a timedelta or a datetime, not {kind}")
    try:
        return float(expire)
    except ValueError:
        raise InvalidTtl(f"expire must be a number of seconds, not {expire!r:.40}") from None
    except OverflowError:  # an int beyond every float
        return math.inf if int(expire) > 0 else 0.0
