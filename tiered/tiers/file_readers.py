"""The read connections of a file tier: a pool, one borrower each, so that readers wait for nobody."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, TypeVar

from tiered.errors import ConfigError, Reason, StoreUnavailable
from tiered.handlers import pass_on
from tiered.lent import Lent
from tiered.tiers.file_errors import CLOSED, SQLITE_ERRORS
from tiered.tiers.file_store import LOOKS, READER_CACHE_KIB, READER_STATEMENTS, Database
from tiered.tiers.sqlite import ABANDONED, CantOpenError, Connection, Cursor, Error, InterruptError

FORK_PATIENCE = 1.0
"""Seconds for which a fork waits for those who read, before it interrupts them."""
NAP = 0.0005
MOST = 64
"""Connections of one process at a time; each has two descriptors and up to 2 MB of pages."""
PATIENCE = 30.0
"""Seconds for which somebody waits for one of them."""
GLANCE = 0.1
KEEP = 8
"""Connections that stay open however long nobody needs them."""
IDLE = 10.0
"""Seconds after which others are closed that were idle for so long."""

_Result = TypeVar("_Result")
MANY = 128
"""Keys in one statement, at most."""


def rows(cursor: Cursor, sql: str, keys: Sequence[str], values: Sequence[object]) -> list[Any]:
    """The rows of `sql` for `keys`, which stand where it has {}, before its other `values`; of a key more than one if it has.

    In few statements: each lets go of the interpreter's lock, and beside a busy thread waits milliseconds for it.
    """
    found = list[Any]()
    for start in range(0, len(keys), MANY):
        some = keys[start : start + MANY]
        places = 1 << (len(some) - 1).bit_length()  # few different statements, so that all stay prepared
        sames = [some[-1]] * (places - len(some))
        found += cursor.execute(sql.format(", ".join("?" * places)), (*some, *sames, *values)).fetchall()
    return found


class Readers:
    """Cursors, each on a connection of its own, opened when all others are busy. Thread-safe.

    The methods that read raise `StoreUnavailable`. There are as many connections as threads that read at one moment, up to
    `MOST`: who comes then waits for one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: deque[Cursor] = deque()
        """The one used last at the end, from where it is taken: those at the beginning are not needed."""
        self._open = Lent[Cursor]()
        self._waiting = 0
        """Added to without a call in between, so that nothing is lost between threads."""
        self._freed: SimpleQueue[None] = SimpleQueue()
        """One for each who waits and is to look."""
        self._seen: list[Cursor] = []
        self._seen_at = 0.0
        self._look_at = 0.0
        self._gate = Lock()  # held to open one
        self._stopped = False
        self._closed = False

    def row(self, sql: str, values: Sequence[object]) -> Any:
        """The only row of a query, or None."""
        if time.monotonic() >= self._look_at:
            self._look()
        try:
            cursor = self._idle.pop()
        except IndexError:
            cursor = self._another()
        try:
            found = cursor.execute(sql, values).fetchall()  # to its end: a statement that is not holds its snapshot
        except InterruptError:
            self._discard(cursor)
            return self.row(sql, values)
        except SQLITE_ERRORS as error:
            self._discard(cursor)
            raise self._database.errors.unreadable(error) from error
        except BaseException:
            self._discard(cursor)
            raise
        self._idle.append(cursor)
        if self._waiting or self._closed or len(self._idle) > KEEP:
            self._settle()
        return found[0] if found else None

    def snapshot(self, look: Callable[[Cursor], _Result]) -> _Result:
        """What `look` finds, all of it in one state of the store."""
        if time.monotonic() >= self._look_at:
            self._look()
        try:
            cursor = self._idle.pop()
        except IndexError:
            cursor = self._another()
        try:
            cursor.execute("BEGIN")
            result = look(cursor)
            cursor.execute("COMMIT")
        except InterruptError:
            self._discard(cursor)
            return self.snapshot(look)
        except SQLITE_ERRORS as error:
            self._discard(cursor)
            raise self._database.errors.unreadable(error) from error
        except BaseException:
            self._discard(cursor)
            raise
        self._idle.append(cursor)
        if self._waiting or self._closed or len(self._idle) > KEEP:
            self._settle()
        return result

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """A connection that is not of the pool; what its borrower raises passes through, `InterruptError` by a fork included."""
        cursor = self._another()
        try:
            yield cursor.connection
        finally:
            self._discard(cursor)

    def close(self) -> None:
        """Close what nobody is using; whoever is still reading closes its own when it is done."""
        self._closed = True
        self._close_idle()
        for _ in range(self._waiting):
            self._freed.put(None)

    def stop(self) -> None:
        """Before a fork: close every connection and let nobody open one; what takes long is interrupted, and begins anew later.

        SQLite's locks, one of them around each allocation, must not go into the child while somebody holds them. But who reads
        may be this thread, in whose middle a signal handler forks: so this does not wait for ever.
        """
        self._stopped = True
        if self._gate.acquire(timeout=PATIENCE):  # whoever was opening one has done it
            self._gate.release()
        began = time.monotonic()
        self._close_idle()
        while self._open and (waited := time.monotonic() - began) < PATIENCE:
            if waited >= FORK_PATIENCE:
                self._interrupt()
            time.sleep(NAP)
            self._close_idle()

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._stopped = False

    def abandon(self, writer: Connection | None) -> None:
        """After a fork, in the child, which goes on with another pool, and without `writer`; if any was still open, it refuses all."""
        if inherited := [*self._open, *filter(None, [writer])]:
            ABANDONED.extend(inherited)
            self._database.errors.inherited = True

    def _look(self) -> None:
        """Others use what is at the path; who goes on with what was there would not see what they write."""
        try:
            replaced = self._database.replaced()
        except OSError as error:
            pass_on(error)
            raise self._database.errors.unreadable(error) from error
        if replaced:
            errors = self._database.errors
            raise StoreUnavailable(errors.replaced(), tier=errors.name, reason=Reason.MISUSE)
        self._look_at = time.monotonic() + LOOKS

    def _another(self) -> Cursor:
        """One that is opened, or else that somebody gives back."""
        end = time.monotonic() + PATIENCE
        while (cursor := self._opened()) is None and (cursor := self._given_back()) is None:
            if time.monotonic() > end:
                message = (
                    f"all {len(self._open)} connections to the file were busy for {PATIENCE:.0f} s; there are {MOST} at most, or as"
                    " many as this process may open (ulimit -n)"
                )
                raise StoreUnavailable(message, tier=self._database.errors.name, reason=Reason.BUSY)
        return cursor

    def _opened(self) -> Cursor | None:
        """A new one; None if there are as many as may be, or as the system has descriptors for."""
        while self._stopped:
            time.sleep(NAP)
        with self._gate:
            if self._closed:
                raise StoreUnavailable(CLOSED, tier=self._database.errors.name)
            if self._stopped or len(self._open) >= MOST:
                return None
            try:
                cursor = self._database.connect(READER_CACHE_KIB, READER_STATEMENTS).cursor()
            except (*SQLITE_ERRORS, ConfigError, OSError) as error:
                pass_on(error)
                if isinstance(error, CantOpenError) and self._open:
                    return None
                raise self._database.errors.unreadable(error) from error
            self._open.add(cursor)
            return cursor

    def _given_back(self) -> Cursor | None:
        """One that is idle; None if it is better to see whether another may be opened."""
        self._waiting += 1
        try:
            return self._idle.pop()  # who gives one back from here on sees that somebody waits
        except IndexError:
            with suppress(Empty):
                self._freed.get(timeout=GLANCE)
            return None
        finally:
            self._waiting -= 1

    def _settle(self) -> None:
        """One was given back, and there is more to do than to leave it there."""
        if self._closed:
            self._close_idle()
        self._tell()
        if len(self._idle) > KEEP and time.monotonic() >= self._seen_at + IDLE:
            self._close_unneeded()

    def _tell(self) -> None:
        if self._freed.qsize() < self._waiting:
            self._freed.put(None)

    def _close_unneeded(self) -> None:
        """Those that stand where they stood when this was done last."""
        self._seen_at = time.monotonic()
        pairs = zip(self._seen, list(self._idle), strict=False)
        still = len(list(takewhile(lambda pair: pair[0] is pair[1], pairs)))
        with suppress(IndexError):
            for _ in range(min(still, len(self._idle) - KEEP)):
                self._discard(self._idle.popleft())
        self._seen = list(self._idle)

    def _interrupt(self) -> None:
        """What is executed at this moment: to be repeated, for who is about to execute something notices nothing."""
        for cursor in self._open:
            with suppress(Error):  # it was closed just now
                cursor.connection.interrupt()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._discard(self._idle.pop())

    def _discard(self, cursor: Cursor) -> None:
        """For one that may be inside a transaction, or broken: it never goes back into the pool."""
        try:
            cursor.connection.close()
        finally:  # and not before: a fork in the middle of closing would leave SQLite's locks in the child
            self._open.discard(cursor)
            self._tell()
