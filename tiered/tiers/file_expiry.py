"""Background expiry of a file tier: a thread that removes what has expired or was cleared, in small steps, and gives its room back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from threading import Event, Lock, Thread
from typing import Any

from tiered.errors import StoreError
from tiered.tiers.sqlite import Connection, first

logger = logging.getLogger(__name__)

PAUSE = 1.0
BREATH = 0.01
STEP_BYTES = 1_000_000
"""Of entries that are removed in one step: everybody else's writes wait for it."""
FREE_PAGES, FREE_SHARE = 2000, 4
"""Pages without content may be so many, or one in so many; they are what the next entries go into."""
VACUUM_PAGES = 200
"""Given back in one step."""

_EXPIRED = "SELECT space, key, coalesce(length(frame), 0) FROM entries WHERE purge_at > 0 AND purge_at <= ? LIMIT ?"
_CLEARED = "SELECT space, key, coalesce(length(frame), 0) FROM entries WHERE space = ? LIMIT ?"


class Expiry:
    """Calls `step` every `PAUSE` seconds, and again after a `BREATH` for as long as it finds something. Thread-safe."""

    def __init__(self, step: Callable[[], int], name: str) -> None:
        self._step = step
        self._name = name
        self._thread: Thread | None = None
        self._told = False
        self._stop = Event()
        self._lock = Lock()  # guards the start of the thread

    def start(self) -> None:
        """Costs nothing when it has started; when the system has no thread to give, a later call tries again."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stop.is_set():
                    thread = Thread(target=self._run, name=f"tiered-{self._name}-expiry", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError as error:  # what has expired stays on disk, unread, for a while longer
                        if not self._told:
                            logger.warning("%s: background expiry waits for a thread: %s", self._name, error)
                        self._told = True
                    else:
                        self._thread = thread

    def stop(self) -> None:
        """Wait for the thread to end, and let none start."""
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            with suppress(StoreError):  # writers meet the same error and report it
                while self._step() and not self._stop.wait(BREATH):
                    continue


def remove(connection: Connection, now: int, limit: int) -> int:
    """Remove what expired before `now` (Unix ms) or was cleared, up to `limit` entries or `STEP_BYTES`; how many.

    This and `give_back` are for use inside a transaction.
    """
    rows: list[Any] = connection.execute(_EXPIRED, (now, limit)).fetchall()
    dead: list[Any] = connection.execute("SELECT space FROM dead_spaces LIMIT ?", (limit,)).fetchall()
    for (space,) in dead:
        if len(rows) >= limit:
            break
        cleared: list[Any] = connection.execute(_CLEARED, (space, limit - len(rows))).fetchall()
        if not cleared:
            connection.execute("DELETE FROM dead_spaces WHERE space = ?", (space,))
        rows += cleared
    before = accumulate((size for *_, size in rows), initial=0)
    some = [row[:2] for row, size in zip(rows, before, strict=False) if size < STEP_BYTES]
    connection.executemany("DELETE FROM entries WHERE space = ? AND key = ?", some)
    return len(some)


def give_back(connection: Connection) -> int:
    """Shorten the file by some of the pages that nothing is in, if they are many; how many."""
    pages = "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count"
    free, count = first(connection, pages)
    surplus: int = max(0, min(VACUUM_PAGES, free - max(FREE_PAGES, count // FREE_SHARE)))
    if surplus:
        connection.execute(f"PRAGMA incremental_vacuum({surplus})").fetchall()
    return surplus
