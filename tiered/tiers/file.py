"""The file tier: a directory with one SQLite database, durable when `commit` returns.

Writers of a process share transactions (combine.py); readers use connections of their own from a pool, and see one
snapshot per call. Versions come from one counter for the whole store: a range is reserved in the database, and again
whenever `PRAGMA data_version` tells that another process wrote in between.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal

from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.entry import expires_at_of, keep_until_of, version_of
from tiered.errors import Ambiguous, ConfigError, NotApplied, Reason, StoreError, StoreUnavailable
from tiered.tiers.base import RETENTION_MS, Commit, Mark, Page, TierHealth, Write, Written
from tiered.tiers.combine import Combiner, Job
from tiered.tiers.file_store import initialise, open_database, prepare

RESERVE = 1000
CONFIRMATIONS = 100_000
EXPIRY_PAUSE = 1.0

_READ = (
    "SELECT n.generation, e.frame FROM namespaces n LEFT JOIN entries e ON e.space = n.space AND e.key = ?"
    " WHERE n.name = ?"
)
_GET = "SELECT e.frame FROM namespaces n JOIN entries e ON e.space = n.space AND e.key = ? WHERE n.name = ?"
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET frame = excluded.frame, purge_at = excluded.purge_at"
)
_MARK = (
    "INSERT INTO pending VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET version = excluded.version, generation = excluded.generation"
)
_CONFIRM = "DELETE FROM pending WHERE tier = ? AND namespace = ? AND key = ? AND version = ? AND generation = ?"

_open_tiers: weakref.WeakSet[FileTier] = weakref.WeakSet()
_abandoned: list[Any] = []
"""Connections inherited over a fork: neither used nor closed, since closing would touch the parent's files."""


class FileTier:
    """A durable store of record in `directory`, which it makes with mode 0700.

    `sync="full"` survives a power cut; "normal" survives kills and may lose the last moments on power loss.
    `shared=False` locks the directory: no other opener, in any process, until this one is closed. Thread-safe.
    """

    max_key_bytes = 1024

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str = "file",
        sync: Literal["full", "normal"] = "full",
        shared: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if sync not in ("full", "normal"):
            raise ConfigError(f"{name}: sync must be 'full' or 'normal', not {sync!r}")
        self.name, self.directory = name, Path(directory)
        self._sync, self._clock = sync, clock
        self._path = prepare(self.directory, name)
        self._lock_fd = _lock_directory(self.directory, name, shared)
        try:
            self._start()
        except BaseException:
            os.close(self._lock_fd)
            raise
        _open_tiers.add(self)

    def _start(self) -> None:
        """What a new process, and a child after a fork, begins with."""
        self._closed = False
        self._readers: deque[sqlite3.Connection] = deque()
        self._confirmations: deque[Mark] = deque(maxlen=CONFIRMATIONS)
        self._combiner = Combiner(self._transact)
        self._writer = open_database(self._path, self._sync)
        try:
            self._identity = initialise(self._writer, self._path, self.name)
        except BaseException:
            self._writer.close()
            raise
        self._next = self._reserved = 0
        self._data_version = -1
        self._stop = Event()
        self._sweeper: Thread | None = None
        self._sweeper_lock = Lock()  # guards the start of the sweeper

    @property
    def journal(self) -> FileTier:
        """Pending marks live in the same database and the same transactions."""
        return self

    # Reading

    def read(self, namespace: str, key: str) -> tuple[int, bytes | None]:
        row = self._query(lambda connection: connection.execute(_READ, (key, namespace)).fetchone())
        return row or (1, None)

    def read_many(self, namespace: str, keys: Sequence[str]) -> tuple[int, list[bytes | None]]:
        def look(connection: sqlite3.Connection) -> tuple[int, list[bytes | None]]:
            generation, frames = 1, list[bytes | None]()
            connection.execute("BEGIN")  # one snapshot for all of them
            try:
                for key in keys:
                    row = connection.execute(_READ, (key, namespace)).fetchone()
                    generation = row[0] if row else 1
                    frames.append(row[1] if row else None)
            finally:
                connection.execute("COMMIT")
            return generation, frames

        return self._query(look) if keys else (self.generation(namespace), [])

    def scan(self, namespace: str, prefix: str, cursor: str | None, limit: int) -> Page:
        after = "e.key >= ?" if cursor is None else "e.key > ?"
        sql = (
            "SELECT e.key, e.frame FROM namespaces n JOIN entries e ON e.space = n.space"
            f" WHERE n.name = ? AND {after} ORDER BY e.key LIMIT ?"
        )
        start = prefix if cursor is None else cursor
        rows = self._query(lambda connection: connection.execute(sql, (namespace, start, limit)).fetchall())
        items = [(key, frame) for key, frame in rows if key.startswith(prefix)]
        return Page(items, rows[-1][0] if len(items) == limit else None)

    def generation(self, namespace: str) -> int:
        sql = "SELECT generation FROM namespaces WHERE name = ?"
        row = self._query(lambda connection: connection.execute(sql, (namespace,)).fetchone())
        return row[0] if row else 1

    # Writing

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        self._sweep_in_background()
        result: Commit = self._write(lambda connection: self._commit(connection, namespace, writes, marks, now))
        return result

    def clear(self, namespace: str) -> int:
        def empty(connection: sqlite3.Connection) -> int:
            space, generation = self._space(connection, namespace)
            connection.execute("INSERT INTO dead_spaces VALUES (?)", (space,))
            connection.execute(
                "UPDATE namespaces SET space = ?, generation = ? WHERE name = ?",
                (self._new_space(connection), generation + 1, namespace),
            )
            return generation + 1

        self._sweep_in_background()
        return int(self._write(empty))

    def bump(self) -> None:
        self._write(lambda connection: connection.execute("UPDATE namespaces SET generation = generation + 1"))

    # As a cache tier

    def get(self, scope: str, key: str) -> bytes | None:
        row = self._query(lambda connection: connection.execute(_GET, (key, scope)).fetchone())
        return row[0] if row else None

    def get_many(self, scope: str, keys: Sequence[str]) -> list[bytes | None]:
        return self.read_many(scope, keys)[1]

    def put(self, scope: str, key: str, frame: bytes) -> bool:
        return self.put_many(scope, ((key, frame),))[0]

    def put_many(self, scope: str, items: Sequence[tuple[str, bytes]]) -> list[bool]:
        self._sweep_in_background()
        accepted: list[bool] = self._write(lambda connection: self._put(connection, scope, items))
        return accepted

    def forget(self, scope: str) -> None:
        def drop(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO dead_spaces SELECT space FROM namespaces WHERE name = ?", (scope,))
            connection.execute("DELETE FROM namespaces WHERE name = ?", (scope,))

        self._write(drop)

    # The journal

    def pending(self, tier: str, *, limit: int, after: tuple[str, str] | None = None) -> list[Mark]:
        sql = (
            "SELECT tier, namespace, key, version, generation FROM pending WHERE tier = ?"
            " AND (namespace, key) > (?, ?) ORDER BY namespace, key LIMIT ?"
        )
        where = (tier, *(after or ("", "")), limit)
        return [Mark(*row) for row in self._query(lambda connection: connection.execute(sql, where).fetchall())]

    def confirm(self, marks: Sequence[Mark]) -> None:
        """The next commit carries these along; one that is lost before then costs a replay, never truth."""
        self._confirmations.extend(marks)

    def flush(self) -> None:
        """Write waiting confirmations without waiting for the disk: they may be lost, harmlessly."""
        if self._confirmations and not self._closed:
            self._write(self._clear_marks)

    # Operating

    def probe(self) -> str:
        self.generation("")
        return self._identity

    def health(self) -> TierHealth:
        facts: dict[str, object] = {"directory": str(self.directory), "sync": self._sync, "store_id": self._identity}
        try:
            facts["bytes"] = self._path.stat().st_size
            self.generation("")
        except (OSError, StoreError) as error:
            return TierHealth(False, str(error), facts)
        return TierHealth(True, "", facts)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy to the file `path` while this store is in use.

        The copy starts a generation and versions of its own, so that what caches hold is not believed after a restore.
        """
        target, part = Path(path), Path(f"{os.fspath(path)}.part")
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        source, copy = self._reader(), sqlite3.connect(part, isolation_level=None)
        try:
            source.backup(copy)
            copy.execute("UPDATE namespaces SET generation = generation + 1048576")
            copy.execute("UPDATE meta SET value = value + 4294967296 WHERE name = 'high'")
            copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the backup to {target} failed: {error}", tier=self.name) from error
        finally:
            copy.close()
            self._return(source)
        os.replace(part, target)

    def expire(self, now: int, limit: int = 500) -> int:
        """Remove up to `limit` entries that expired before `now` (Unix ms) or were cleared; returns how many."""
        return int(self._write(lambda connection: _expire(connection, now, limit)))

    def close(self) -> None:
        if self._closed:
            return
        self._stop.set()
        if self._sweeper is not None:
            self._sweeper.join()
        if self._confirmations:
            with suppress(StoreError):  # unconfirmed marks are replayed, which is harmless
                self.flush()
        self._closed = True
        with suppress(NotApplied):
            self._combiner.submit(self._clear_marks)  # refused now; whoever was writing has finished when it returns
        self._writer.close()
        while self._readers:
            self._readers.pop().close()
        os.close(self._lock_fd)
        _open_tiers.discard(self)

    # The parts of a read

    def _query(self, look: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._reader()
        try:
            return look(connection)
        except sqlite3.Error as error:
            message = f"cannot read {self._path}: {error}"
            raise StoreUnavailable(message, tier=self.name, reason=_reason(error)) from error
        finally:
            self._return(connection)

    def _reader(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("closed; build a new one", tier=self.name)
        try:
            return open_database(self._path, self._sync)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot open {self._path}: {error}", tier=self.name) from error

    def _return(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._readers.append(connection)

    # The parts of a write

    def _write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._closed:
            raise NotApplied("closed; build a new one", tier=self.name)
        return self._combiner.submit(work)

    def _transact(self, batch: list[Job]) -> None:
        """Run a batch in one transaction; if that fails, each job in one of its own, so that none fails for another."""
        if self._closed:
            for job in batch:
                job.error = NotApplied("closed; build a new one", tier=self.name)
            return
        try:
            self._try(batch)
        except StoreError as error:
            if len(batch) == 1 or isinstance(error, Ambiguous):
                for job in batch:
                    job.error = error
                return
            for job in batch:
                self._transact([job])

    def _try(self, batch: list[Job]) -> None:
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.result = job.work(connection)
            if self._confirmations:
                self._clear_marks(connection)
        except BaseException as error:
            self._roll_back()
            if not isinstance(error, sqlite3.Error):
                raise
            message = f"nothing was written to {self._path}: {error}{_advice(error)}"
            raise NotApplied(message, tier=self.name, reason=_reason(error)) from error
        try:
            connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if _reason(error) is Reason.FULL:
                raise NotApplied(
                    f"{self._path}: {error}{_advice(error)}", tier=self.name, reason=Reason.FULL
                ) from error
            self._reopen()
            message = f"the commit to {self._path} failed and may or may not be on disk: {error}"
            raise Ambiguous(message, tier=self.name, reason=_reason(error)) from error

    def _roll_back(self) -> None:
        self._reserved = 0  # the range may have been rolled back with the rest
        with suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    def _reopen(self) -> None:
        """After a failed fsync nothing that this connection believes is certain."""
        with suppress(sqlite3.Error):
            self._writer.close()
        self._data_version = -1
        self._writer = open_database(self._path, self._sync)

    def _commit(
        self, connection: sqlite3.Connection, namespace: str, writes: Sequence[Write], marks: Sequence[str], now: int
    ) -> Commit:
        space, generation = self._space(connection, namespace)
        version = self._versions(connection, len(writes))
        if all(write.expect is None and not write.draft.flags for write in writes):
            written, rows = [], []
            for number, (key, draft, _) in enumerate(writes, version):
                frame = draft.seal(number)
                written.append(Written(number, frame, False))
                rows.append((space, key, frame, draft.keep_until))
            connection.executemany(_PUT, rows)
        else:
            written = [_apply(connection, space, write, version + n, now) for n, write in enumerate(writes)]
        if marks:
            connection.executemany(
                _MARK,
                [
                    (tier, namespace, write.key, it.version, generation)
                    for write, it in zip(writes, written, strict=True)
                    if it.version
                    for tier in marks
                ],
            )
        return Commit(generation, written)

    def _space(self, connection: sqlite3.Connection, namespace: str) -> tuple[int, int]:
        sql = "SELECT space, generation FROM namespaces WHERE name = ?"
        row = connection.execute(sql, (namespace,)).fetchone()
        if row is None:
            row = self._new_space(connection), 1
            connection.execute("INSERT INTO namespaces (name, space, generation) VALUES (?, ?, ?)", (namespace, *row))
        return row[0], row[1]

    def _new_space(self, connection: sqlite3.Connection) -> int:
        sql = "UPDATE meta SET value = value + 1 WHERE name = 'spaces' RETURNING value"
        return int(connection.execute(sql).fetchall()[0][0])

    def _versions(self, connection: sqlite3.Connection, count: int) -> int:
        """The first of `count` versions, all higher than any that any process was given before."""
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or self._next + count > self._reserved:
            amount = max(RESERVE, count)
            sql = "UPDATE meta SET value = value + ? WHERE name = 'high' RETURNING value"
            high = int(connection.execute(sql, (amount,)).fetchall()[0][0])
            self._next, self._reserved, self._data_version = high - amount + 1, high + 1, data_version
        first = self._next
        self._next += count
        return first

    def _put(self, connection: sqlite3.Connection, scope: str, items: Sequence[tuple[str, bytes]]) -> list[bool]:
        space, _ = self._space(connection, scope)
        accepted = []
        for key, frame in items:
            held = _held(connection, space, key)
            newer = held is None or version_of(held) < version_of(frame)
            if newer:
                keep_until = keep_until_of(frame)
                connection.execute(_PUT, (space, key, frame, keep_until and keep_until + RETENTION_MS))
            accepted.append(newer)
        return accepted

    def _clear_marks(self, connection: sqlite3.Connection) -> None:
        marks = [self._confirmations.popleft() for _ in range(len(self._confirmations))]
        connection.executemany(_CONFIRM, marks)

    # Expiry in the background

    def _sweep_in_background(self) -> None:
        if self._sweeper is None:
            with self._sweeper_lock:
                if self._sweeper is None and not self._closed:
                    self._sweeper = Thread(target=self._sweep, name=f"tiered-{self.name}-expiry", daemon=True)
                    self._sweeper.start()

    def _sweep(self) -> None:
        while not self._stop.wait(EXPIRY_PAUSE):
            with suppress(StoreError):  # writers meet the same error and report it
                while self.expire(self._clock.now()) and not self._stop.wait(0.01):
                    continue

    def _after_fork(self) -> None:
        _abandoned.extend((self._writer, *self._readers))
        if not self._closed:
            self._start()


def _apply(connection: sqlite3.Connection, space: int, write: Write, version: int, now: int) -> Written:
    """One conditional write or delete."""
    key, draft, expect = write
    held = _held(connection, space, key)
    if held is not None and 0 < expires_at_of(held) <= now:
        held = None
    if expect is not None and expect != (version_of(held) if held else 0):
        return Written(0, b"", held is not None)
    frame = draft.seal(version)
    if draft.tombstone:
        connection.execute("DELETE FROM entries WHERE space = ? AND key = ?", (space, key))
    else:
        connection.execute(_PUT, (space, key, frame, draft.keep_until))
    return Written(version, frame, held is not None)


def _held(connection: sqlite3.Connection, space: int, key: str) -> bytes | None:
    row = connection.execute("SELECT frame FROM entries WHERE space = ? AND key = ?", (space, key)).fetchone()
    return row[0] if row else None


def _expire(connection: sqlite3.Connection, now: int, limit: int) -> int:
    rows = connection.execute(
        "SELECT space, key FROM entries WHERE purge_at > 0 AND purge_at <= ? LIMIT ?", (now, limit)
    ).fetchall()
    dead = connection.execute("SELECT space FROM dead_spaces LIMIT 1").fetchone()
    if dead and len(rows) < limit:
        sql = "SELECT space, key FROM entries WHERE space = ? LIMIT ?"
        cleared = connection.execute(sql, (dead[0], limit - len(rows))).fetchall()
        if not cleared:
            connection.execute("DELETE FROM dead_spaces WHERE space = ?", dead)
        rows += cleared
    connection.executemany("DELETE FROM entries WHERE space = ? AND key = ?", rows)
    if rows:
        connection.execute("PRAGMA incremental_vacuum(100)")
    return len(rows)


def _lock_directory(directory: Path, name: str, shared: bool) -> int:
    """Hold the directory for as long as the descriptor lives, kill -9 included: with others, or alone."""
    path = directory / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{name}: cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        who = "a process that asked for it alone (shared=False)" if shared else "another process"
        raise ConfigError(f"{name}: {directory} is in use by {who}; stop it or use another directory") from error
    return descriptor


def _reason(error: BaseException) -> Reason:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return {
        sqlite3.SQLITE_FULL: Reason.FULL,
        sqlite3.SQLITE_BUSY: Reason.BUSY,
        sqlite3.SQLITE_CORRUPT: Reason.SERIALIZATION,
        sqlite3.SQLITE_NOTADB: Reason.SERIALIZATION,
    }.get(code, Reason.OTHER)


def _advice(error: BaseException) -> str:
    return {
        Reason.FULL: "; free some space, then write again",
        Reason.BUSY: "; another process holds the write lock for too long",
        Reason.SERIALIZATION: "; restore a backup",
    }.get(_reason(error), "")


def _after_fork() -> None:
    for tier in list(_open_tiers):
        tier._after_fork()


os.register_at_fork(after_in_child=_after_fork)
