"""The database of a journal of intents: connections, transactions and locks in one local directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from tiered.arguments import choice
from tiered.errors import Ambiguous, NotApplied, without_tier
from tiered.tiers import intent_tables as tables
from tiered.tiers.file_errors import FileErrors
from tiered.tiers.file_lock import DirectoryLock
from tiered.tiers.file_place import path_of, prepare
from tiered.tiers.file_readers import Readers
from tiered.tiers.file_session import Session
from tiered.tiers.file_store import SYNCS, Database
from tiered.tiers.file_writer import Writer
from tiered.tiers.intent_changes import Changes, Waiting
from tiered.tiers.intent_writers import Writers
from tiered.tiers.sqlite import Connection, Cursor

REMEDY = "stop what uses this journal, and remove its directory; the caches then start anew"

_Result = TypeVar("_Result")


class IntentStore:
    """Transactions that the writers of a process share, and that carry along whatever `waiting` has. Thread-safe.

    Raises `NotApplied` or `Ambiguous` for writes, `StoreUnavailable` for reads, `ConfigError` when it cannot be opened.
    """

    def __init__(self, directory: str | os.PathLike[str], name: str, sync: Literal["full", "normal"]) -> None:
        choice(f"{name}: the journal's sync", sync, SYNCS)
        self.directory = path_of(directory, f"{name}: the journal's directory")
        path = prepare(self.directory, name)
        self._lock = DirectoryLock(self.directory, name, shared=True)
        self._database = Database(path, sync, self._lock, FileErrors(name, path, REMEDY), tables.LAYOUT)
        try:
            connection, _ = self._database.open()
        except BaseException:
            self._lock.release()
            raise
        self.writers = Writers(self.directory, name)
        self._start(connection)

    def _start(self, connection: Connection | None = None) -> None:
        self.waiting = Waiting()
        self._readers = Readers(self._database)
        self._writer = Writer(self._database, connection)

    def read(self, look: Callable[[Cursor], _Result]) -> _Result:
        """What `look` finds, all of it in one state of the journal."""
        return self._readers.snapshot(look)

    def write(self, work: Callable[[Connection], _Result], *, lazy: bool = False) -> _Result:
        """Run `work` in a transaction; `lazy` does not wait for the disk."""
        taken: list[Changes] = []

        def with_changes(session: Session) -> _Result:
            """What waits is taken inside, so that transactions write changes out in the order in which they came."""
            self._give_back(taken)  # the transaction before was rolled back, for the sake of others in it
            if self.waiting:
                taken.append(self.waiting.take())
                tables.write_out(session.connection, taken[0])
            return work(session.connection)

        try:
            return self._writer.write(with_changes, lazy=lazy)
        except BaseException:  # to do it again is harmless if it was done
            self._give_back(taken)
            raise

    def write_out(self) -> None:
        """What waits, lazily."""
        if self.waiting:
            self.write(lambda _: None, lazy=True)

    def announce(self, namespace: str, intents: Sequence[tuple[int, str]]) -> None:
        """Durable when it returns; raises `NotApplied`."""
        try:
            self.write(lambda db: tables.announce(db, self.writers.number, namespace, intents))
        except Ambiguous as error:
            self.waiting.over([intent for intent, _ in intents])  # the write itself is not going to be tried
            message = without_tier(error, error.tier)
            raise NotApplied(f"not announced: {message}", tier=error.tier, reason=error.reason) from error

    def close(self) -> None:
        self.writers.release()
        self._writer.close()
        self._readers.close()
        self._lock.release()

    # Forks, as in `FileTier`

    def before_fork(self) -> None:
        self._writer.stop()
        self._readers.stop()

    def after_fork_in_parent(self) -> None:
        self._readers.resume()
        self._writer.resume()

    def after_fork_in_child(self) -> None:
        """What waits is the parent's to write out."""
        self._readers.abandon(self._writer.abandon())
        self._lock.disown()
        self.writers.release()
        self._start()

    def _give_back(self, taken: list[Changes]) -> None:
        while taken:
            self.waiting.give_back(taken.pop())
