"""Locks beside signal handlers that raise: at every moment it is known which are held, and what must be done is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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


def insist(step: Callable[[], object]) -> None:
    """Do what may be done twice, and once more if a handler raised in the middle of it; that is raised in the end."""
    try:
        step()
    except BaseException:
        step()
        raise
