"""The keys that functions given to `update` are about to change, in this context: they must not change them themselves.

Their own write would be the one that came first, each time anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tiered.errors import NotApplied, Reason


class Change:
    """A function under way, and the one that it was called in. A task that it has begun may outlive it."""

    __slots__ = ("key", "outer", "over", "space")

    def __init__(self, space: object, key: str, outer: Change | None) -> None:
        self.space, self.key, self.outer, self.over = space, key, outer, False


innermost: ContextVar[Change | None] = ContextVar("tiered_change", default=None)


@contextmanager
def changing(space: object, key: str) -> Iterator[None]:
    """While a function runs that returns the new value of `key`."""
    outer = innermost.get()
    change = Change(space, key, outer)
    innermost.set(change)
    try:
        yield
    finally:
        change.over = True
        innermost.set(outer)


def check_free(change: Change | None, space: object, key: str) -> None:
    """Raise `NotApplied` if `change`, the innermost one, or one around it is about this key."""
    while change is not None:
        if change.key == key and change.space is space and not change.over:
            message = f"the function that changes {key!r:.80} writes to that key itself: let it return the new value"
            raise NotApplied(message, reason=Reason.MISUSE)
        change = change.outer
