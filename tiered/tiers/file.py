"""The file tier: a directory with one SQLite database, durable when `commit` returns.

Writers of a process share transactions (file_writer.py, combine.py); readers use connections of their own from a
pool, and see one snapshot per call (file_readers.py). Versions come from one counter for the whole store, of which
each writing connection knows the last one (file_session.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from tiered.arguments import choice, tier_name, truth, whole
from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.errors import StoreError, StoreUnavailable
from tiered.forks import forget, put_off, register
from tiered.tiers import file_backup, file_history
from tiered.tiers.base import BuiltIn, Commit, Page, TierHealth, Write
from tiered.tiers.file_errors import SQLITE_ERRORS, FileErrors
from tiered.tiers.file_expiry import Expiry, give_back, remove
from tiered.tiers.file_journal import FileJournal
from tiered.tiers.file_leases import FileLeases
from tiered.tiers.file_lock import DirectoryLock
from tiered.tiers.file_place import explain, path_of, prepare
from tiered.tiers.file_readers import Readers, rows
from tiered.tiers.file_store import SYNCS, Database, copy, renew_log
from tiered.tiers.file_token import Token
from tiered.tiers.file_writer import Writer
from tiered.tiers.sqlite import Connection, Cursor, InterruptError, damaged, first

CACHE_LIFE_MS = 86_400_000
"""What is kept as a cache lives no longer, whatever its own expiry: so what an older generation left is gone some day."""
COPIES = 3
"""Times that a backup is begun, at most."""

# Whoever can write to the file can put a text or a number where a frame belongs: CAST makes bytes of those, too.
_READ = (
    "SELECT n.generation, CAST(e.frame AS BLOB) FROM namespaces n LEFT JOIN entries e ON e.space = n.space AND e.key = ?"
    " WHERE n.name = ?"
)
_READ_MANY = (
    "SELECT n.generation, e.key, CAST(e.frame AS BLOB) FROM namespaces n"
    " LEFT JOIN entries e ON e.space = n.space AND e.key IN ({}) WHERE n.name = ?"
)
_GET = (
    "SELECT CAST(e.frame AS BLOB) FROM namespaces n JOIN entries e ON e.space = n.space AND e.key = ? WHERE n.name = ?"
)
_GENERATION = "SELECT coalesce((SELECT generation FROM namespaces WHERE name = ?), (SELECT generation FROM store))"
_GENERATIONS = "SELECT name, generation FROM namespaces WHERE name IN ({})"
_SCAN = (
    "SELECT e.key, CAST(e.frame AS BLOB) FROM namespaces n JOIN entries e ON e.space = n.space"
    " WHERE n.name = ? AND e.key {} ? ORDER BY e.key LIMIT ?"
)
_NAMESPACES = "SELECT name FROM namespaces WHERE instr(name, ':') = 0 ORDER BY name"  # with one: a cache tier's scope
_COUNT = "SELECT count(*) FROM entries WHERE space = (SELECT space FROM namespaces WHERE name = ?)"


class FileTier(BuiltIn):
    """A durable store of record in `directory`, which it makes with mode 0700.

    `sync="full"` survives a power cut; "normal" survives kills and may lose the last moments on power loss.
    `shared=False` locks the directory: no other opener, in any process, until this one is closed. A child that is
    forked meanwhile is another process: there every call raises, until the parent has closed the store or ended.
    A child of a shared store uses it as before, over connections of its own. `max_pending` bounds the marks of each cache
    tier; a tier that misses more starts anew, under a new generation. Thread-safe.
    """

    gives = True
    max_key_bytes = 1024

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str = "file",
        sync: Literal["full", "normal"] = "full",
        shared: bool = True,
        max_pending: int = 100_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name = tier_name(name)
        choice(f"{name}: sync", sync, SYNCS)
        truth(f"{name}: shared", shared)
        self.directory = path_of(directory, f"{name}: the directory")
        self._sync, self._clock, self.max_pending = sync, clock, whole(f"{name}: max_pending", max_pending, 1)
        self._path = prepare(self.directory, name)
        self._lock = DirectoryLock(self.directory, name, shared=shared)
        self._database = Database(self._path, sync, self._lock, FileErrors(name, self._path))
        self.expired = 0
        """Entries that were removed because they had expired or been cleared, by this process."""
        self._closed = False
        with put_off():
            try:
                connection, self._identity = self._database.open()
            except BaseException:
                self._lock.release()
                raise
            self._start(connection)
            register(self)

    def _start(self, connection: Connection | None = None) -> None:
        """What a new process, and a child after a fork, begins with; connections are opened when they are needed."""
        self._readers = Readers(self._database)
        self._writer = Writer(self._database, connection)
        self.journal = FileJournal(self._readers, self._writer, self.directory, self._identity)
        """Pending marks live in the same database and the same transactions."""
        self._expiry = Expiry(self._tidy, self.name)
        self._token = Token(self.directory, self.name)
        self.leases = FileLeases(self.directory, self.name)

    # Reading

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        found: tuple[int, bytes | None] | None = self._readers.row(_READ, (key, namespace))
        if found is None or type(found[0]) is not int:
            return self.generation(namespace), None
        return found

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        def look(cursor: Cursor) -> tuple[int, list[bytes | None]]:
            found = rows(cursor, _READ_MANY, keys, (namespace,))
            if not found:  # the namespace is not there yet: there can be no entry
                return _generation(cursor, namespace), [None] * len(keys)
            frames = {key: frame for _, key, frame in found}
            return file_history.checked(found[0][0]), [frames.get(key) for key in keys]

        return self._readers.snapshot(look) if keys else (self.generation(namespace), [])

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        sql, start = (_SCAN.format(">="), prefix) if cursor is None else (_SCAN.format(">"), cursor)

        def look(reader: Cursor) -> list[tuple[str, bytes]]:
            entries: list[Any] = reader.execute(sql, (namespace, start, limit)).fetchall()
            if not all(type(key) is str and frame is not None for key, frame in entries):
                raise damaged("a key is no text, or an entry has no frame")
            return entries

        entries = self._readers.snapshot(look)
        items = [(key, frame) for key, frame in entries if key.startswith(prefix)]
        return Page(items, items[-1][0] if items and len(items) == limit else None)

    def namespaces(self) -> list[str]:
        found: list[Any] = self._readers.snapshot(lambda reader: reader.execute(_NAMESPACES).fetchall())
        return [name for (name,) in found]

    def count(self, namespace: str) -> int:
        """Reads the index of keys, not the entries."""
        number: int = self._readers.row(_COUNT, (namespace,))[0]
        return number

    def generation(self, namespace: str) -> int:
        return self._readers.snapshot(lambda reader: _generation(reader, namespace))

    def generation_many(self, namespaces: Sequence[str]) -> list[int]:
        """`generation` of each, in one snapshot."""

        def look(reader: Cursor) -> list[int]:
            (unknown,) = first(reader, "SELECT generation FROM store")
            known = dict(rows(reader, _GENERATIONS, namespaces, ()))
            return [file_history.checked(known.get(name, unknown)) for name in namespaces]

        return self._readers.snapshot(look)

    # Writing

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        self._expiry.start()
        return self._writer.write(lambda session: session.commit(namespace, writes, marks, now))

    def clear(self, namespace: str) -> int:
        self._expiry.start()
        return self._writer.write(lambda session: session.clear(namespace))

    def bump(self) -> None:
        self._writer.write(lambda session: session.bump())

    def history(self) -> tuple[str, str]:
        place = self._readers.snapshot(file_history.place)
        return f"{self._identity}:{place.partition('-')[0]}", place

    def knows(self, place: str) -> bool:
        return self._readers.snapshot(lambda reader: file_history.knows(reader, place))

    def start_anew(self, line: str) -> bool:
        return self._writer.write(lambda session: session.start_anew(line.rpartition(":")[2]))

    # As a cache tier

    def get(self, scope: str, key: str) -> bytes | None:
        row = self._readers.row(_GET, (key, scope))
        return row[0] if row else None

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        return self.read_many(scope, keys)[1]

    def put_many(
        self, scope: str, items: Sequence[tuple[str, bytes]], *, since: float | None = None, tell: bool = False
    ) -> list[bool]:
        self._expiry.start()
        until = self._clock.now() + CACHE_LIFE_MS
        return self._writer.write(lambda session: session.put(scope, items, until), lazy=True)

    def listing(self, scope: str, cursor: str | None, limit: int) -> Page:
        return self.scan(scope, "", cursor, limit)

    def discard(self, scope: str, items: Sequence[tuple[str, bytes]]) -> int:
        return self._writer.write(lambda session: session.discard(scope, items), lazy=True)

    def forget(self, scope: str) -> None:
        self._writer.write(lambda session: session.forget(scope), lazy=True)

    # Operating

    def probe(self) -> str:
        """Another one whenever nobody had the directory open as a cache: see `Token`."""
        self.generation("")
        return f"{self._identity}-{self._token.read()}"

    def health(self) -> TierHealth:
        facts: dict[str, object] = {"directory": str(self.directory), "sync": self._sync, "store_id": self._identity}
        try:
            if self._database.replaced():
                return TierHealth(False, self._database.errors.replaced(), facts)
            facts["bytes"] = self._path.stat().st_size
            self.generation("")
        except (OSError, StoreError) as error:
            return TierHealth(False, str(error), facts)
        return TierHealth(True, "", facts)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy to the file `path` while this store is in use.

        The copy starts a generation and versions of its own, so that what caches hold is not believed after a restore.
        """
        target = path_of(path, f"{self.name}: the backup's path")
        part = file_backup.begin(target, self.name)
        try:
            self._copy(part)
            os.replace(part, target)
        except SQLITE_ERRORS as error:
            raise self._database.errors.not_copied(target, error) from error
        except OSError as error:
            raise StoreUnavailable(f"the backup to {target} failed: {explain(error)}", tier=self.name) from error
        finally:
            file_backup.remove(part)

    def _copy(self, part: Path) -> None:
        """Begun anew, some times, if a fork interrupted it."""
        for left in reversed(range(COPIES)):
            try:
                with self._readers.lend() as connection:
                    copy(connection, part)
                break
            except InterruptError:
                if not left:
                    raise
        with open(part, "rb") as file:  # and not inside SQLite, whose locks a fork would have to wait for
            os.fsync(file.fileno())

    def expire(self, now: int, limit: int = 500) -> int:
        """Remove up to `limit` entries that expired before `now` (Unix ms) or were cleared, fewer if they are large; returns how many."""
        removed = self._writer.write(lambda session: remove(session.flushed(), now, limit), lazy=True)
        self.expired += removed
        return removed

    def _tidy(self) -> int:
        """A small step of what time brings; how much there was to do."""
        self.journal.limit(self.max_pending)
        if self._database.log_has_grown():
            # What is in the way now is not there at a later step; a disk that fails, a commit tells of.
            with suppress(*SQLITE_ERRORS, StoreError), self._readers.lend() as connection:
                renew_log(connection)
        return self.expire(self._clock.now()) or self._writer.write(
            lambda session: give_back(session.flushed()), lazy=True
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._expiry.stop()
        self._writer.close()
        self._readers.close()
        self._token.close()
        self._lock.release()
        forget(self)

    # Forks

    def before_fork(self) -> None:
        """Close every connection and let nobody open one; each is opened again when it is needed."""
        self._writer.stop()
        self._readers.stop()

    def after_fork_in_parent(self) -> None:
        self._readers.resume()
        self._writer.resume()

    def after_fork_in_child(self) -> None:
        self.expired = 0
        self._readers.abandon(self._writer.abandon())
        self._lock.disown()
        self._token.abandon()
        self.leases.abandon()
        self._start()


def _generation(reader: Cursor, namespace: str) -> int:
    return file_history.checked(first(reader, _GENERATION, (namespace,))[0])
