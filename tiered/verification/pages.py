"""Walking an enumeration in pages that are bounded by keys and, as far as can be foreseen, by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import sleep

from tiered.errors import Reason, StoreError
from tiered.tiers.base import Page

FIRST, MOST = 16, 500
"""Keys of the first page, and of any."""
BYTES = 256 * 1024
"""About how much a page may hold: a tier's timeout must do for it."""
ATTEMPTS = 4
PAUSE = 0.1

PASSING = frozenset({Reason.TIMEOUT, Reason.CONNECTION, Reason.BUSY})
"""A long comparison does not end for one of these; behind it, there is no next tier to ask."""


def pages(fetch: Callable[[str | None, int], Page]) -> Iterator[list[tuple[str, bytes]]]:
    """The pages of `fetch(cursor, limit)`, empty ones too; raises `StoreError` when a page cannot be had."""
    cursor, limit = None, FIRST
    while True:
        page, limit = _fetched(fetch, cursor, limit)
        yield page.items
        size = sum(len(frame) for _, frame in page.items)
        limit = min(MOST, 2 * limit) if size <= BYTES else max(1, limit * BYTES // size)
        if (cursor := page.cursor) is None:
            return


def patient(error: StoreError, attempt: int) -> bool:
    """Whether to try once more after `error`; waits before it says yes."""
    if error.reason not in PASSING or attempt + 1 >= ATTEMPTS:
        return False
    sleep(PAUSE * 2**attempt)
    return True


def _fetched(fetch: Callable[[str | None, int], Page], cursor: str | None, limit: int) -> tuple[Page, int]:
    attempt = 0
    while True:
        try:
            return fetch(cursor, limit), limit
        except StoreError as error:
            if not patient(error, attempt):
                raise
            attempt, limit = attempt + 1, max(1, limit // 4)
