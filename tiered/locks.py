"""Locks beside signal handlers that raise: at every moment it is known which are held."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from operator import methodcaller
from threading import Lock

_acquired, _release = methodcaller("acquire"), methodcaller("release")


def acquire_into(held: deque[Lock], lock: Lock) -> None:
    """Acquire `lock` and note it in `held`: in one call, so that no handler runs between the two."""
    held.extend(filter(_acquired, (lock,)))


def release_all(held: deque[Lock]) -> None:
    """Release the locks in `held` and forget them, each in one call: repeated after an interrupt it releases none twice."""
    deque(map(_release, map(deque.popleft, repeat(held, len(held)))), maxlen=0)
