"""The keys that functions given to `update` are about to change, in this context: they must not change them themselves.

Their own write would be the one that came first, each time anew.
"""

from __future__ import annotations

from contextvars import ContextVar

from tiered.errors import NotApplied, Reason


class Change:
    """A function that is called for the new value of a key, and the one that it was called in.

    `over` is False while it runs; a task that it has begun may outlive it. Whoever calls it sets this by itself: a signal handler may
    raise at the beginning of any function that would, and the key could never be changed again in this context.
    """

    __slots__ = ("key", "outer", "over", "space")

    def __init__(self, space: object, key: str) -> None:
        self.space, self.key, self.over = space, key, True
        self.outer = innermost.get()
        while self.outer is not None and self.outer.over:
            self.outer = self.outer.outer


innermost: ContextVar[Change | None] = ContextVar("tiered_change", default=None)


def check_free(change: Change | None, space: object, key: str) -> None:
    """Raise `NotApplied` if `change`, the innermost one, or one around it is about this key."""
    while change is not None:
        if change.key == key and change.space is space and not change.over:
            message = f"the function that changes {key!r:.80} writes to that key itself: let it return the new value"
            raise NotApplied(message, reason=Reason.MISUSE)
        change = change.outer
