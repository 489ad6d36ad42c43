"""The file tier: a directory with one SQLite database, durable when `commit` returns.

Writers of a process share transactions (combine.py); readers use connections of their own from a pool, and see one
snapshot per call. Versions come from one counter for the whole store: a range is reserved in the database, and again
whenever `PRAGMA data_version` tells that another process wrote in between.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
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
FORK_PATIENCE = 1.0

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
"""Readers that were busy at a fork, in the child: neither used nor closed, since closing would touch the parent's files."""


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
        self._start()
        self._closed = False
        try:
            self._identity = self._check()
        except BaseException:
            os.close(self._lock_fd)
            raise
        _open_tiers.add(self)

    def _start(self) -> None:
        """What a new process, and a child after a fork, begins with; connections are opened when they are needed."""
        self._readers: deque[sqlite3.Connection] = deque()
        self._open_readers: set[sqlite3.Connection] = set()
        self._gate = Lock()  # held while a fork is under way: nobody opens a reader then
        self._writer: sqlite3.Connection | None = None
        self._confirmations: deque[Mark] = deque(maxlen=CONFIRMATIONS)
        self._combiner = Combiner(self._transact)
        self._next = self._reserved = 0
        self._data_version = -1
        self._relaxed = False
        self._stop = Event()
        self._sweeper: Thread | None = None
        self._sweeper_lock = Lock()  # guards the start of the sweeper

    def _check(self) -> str:
        """Refuse what is not ours, create what is empty; returns the store's id."""
        connection = None
        try:
            connection = open_database(self._path, self._sync)
            identity = initialise(connection, self._path, self.name)
            connection.execute("PRAGMA journal_mode=WAL")  # a restored backup is not in this mode
        except BaseException as error:
            if connection is not None:
                connection.close()
            if not isinstance(error, sqlite3.Error):
                raise
            message = f"{self.name}: cannot use {self._path}: {error}{_advice(error)}"
            raise ConfigError(message) from error
        self._writer = connection
        return identity

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
        return Page(items, items[-1][0] if items and len(items) == limit else None)

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
        accepted: list[bool] = self._write(lambda connection: self._put(connection, scope, items), lazy=True)
        return accepted

    def forget(self, scope: str) -> None:
        def drop(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO dead_spaces SELECT space FROM namespaces WHERE name = ?", (scope,))
            connection.execute("DELETE FROM namespaces WHERE name = ?", (scope,))

        self._write(drop, lazy=True)

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
            self._write(self._clear_marks, lazy=True)

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
        try:
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise ConfigError(
                f"{self.name}: cannot create {part}: {error.strerror}; remove it or back up elsewhere"
            ) from error
        try:
            self._query(lambda connection: _copy(connection, part))
            os.replace(part, target)
        except OSError as error:
            raise StoreUnavailable(f"the backup to {target} failed: {error.strerror}", tier=self.name) from error
        finally:
            part.unlink(missing_ok=True)

    def expire(self, now: int, limit: int = 500) -> int:
        """Remove up to `limit` entries that expired before `now` (Unix ms) or were cleared; returns how many."""
        return int(self._write(lambda connection: _expire(connection, now, limit), lazy=True))

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
        self._combiner.pause()  # whoever was writing has finished
        self._drop_writer()
        self._combiner.resume()
        self._close_readers()
        descriptor, self._lock_fd = self._lock_fd, -1
        if descriptor >= 0:  # else another thread closes at the same moment
            os.close(descriptor)
        _open_tiers.discard(self)

    # The parts of a read

    def _query(self, look: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._reader()
        try:
            result = look(connection)
        except BaseException as error:  # it may be inside a transaction, or broken: never back into the pool
            self._open_readers.discard(connection)
            connection.close()
            if not isinstance(error, sqlite3.Error):
                raise
            message = f"cannot read {self._path}: {error}{_advice(error)}"
            raise StoreUnavailable(message, tier=self.name, reason=_reason(error)) from error
        self._readers.append(connection)
        if self._closed:
            self._close_readers()
        return result

    def _reader(self) -> sqlite3.Connection:
        with self._gate:
            if self._closed:
                raise StoreUnavailable("closed; build a new one", tier=self.name)
            try:
                connection = open_database(self._path, self._sync)
            except sqlite3.Error as error:
                message = f"cannot open {self._path}: {error}{_advice(error)}"
                raise StoreUnavailable(message, tier=self.name, reason=_reason(error)) from error
            self._open_readers.add(connection)
            return connection

    def _close_readers(self) -> None:
        """Close the readers that nobody is using."""
        with suppress(IndexError):
            while True:
                connection = self._readers.pop()
                self._open_readers.discard(connection)
                connection.close()

    # The parts of a write

    def _write(self, work: Callable[[sqlite3.Connection], Any], *, lazy: bool = False) -> Any:
        if self._closed:
            raise NotApplied("closed; build a new one", tier=self.name)
        return self._combiner.submit(work, lazy=lazy)

    def _transact(self, batch: list[Job]) -> None:
        """Run a batch in one transaction; if a job fails, each job in one of its own, so that none fails for another.

        An interrupt (no `Exception`) is raised here, in its thread, after the other jobs were told what became of them.
        """
        try:
            try:
                connection = self._begin(batch)
                failed = self._work(connection, batch)
            except StoreError as error:
                _fail(batch, error)
                return
            if failed is None:
                self._finish(connection, batch)
            elif len(batch) == 1:
                batch[0].error = failed
            else:
                for job in batch:
                    self._transact([job])
        except BaseException:
            undone = self._writer is not None and self._writer.in_transaction
            self._roll_back()
            outcome = NotApplied if undone else Ambiguous
            _fail([job for job in batch if not job.settled], outcome("interrupted while writing", tier=self.name))
            raise

    def _begin(self, batch: list[Job]) -> sqlite3.Connection:
        """Start a transaction. A failure here is everybody's: trying again for each would multiply the time to wait."""
        if self._closed:
            raise NotApplied("closed; build a new one", tier=self.name)
        try:
            connection = self._writer
            if connection is None:
                connection = self._writer = open_database(self._path, self._sync)
            relaxed = self._sync == "full" and all(job.lazy for job in batch)
            if relaxed != self._relaxed:
                connection.execute(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")
                self._relaxed = relaxed
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._drop_writer()
            raise self._not_applied(error) from error
        return connection

    def _work(self, connection: sqlite3.Connection, batch: list[Job]) -> Exception | None:
        """Do the jobs inside the transaction; if one fails, roll back and return its error."""
        try:
            for job in batch:
                assert job.work is not None  # pauses are never in a batch
                job.result = job.work(connection)
            if self._confirmations:
                self._clear_marks(connection)
        except Exception as error:
            self._roll_back()
            if not isinstance(error, sqlite3.Error):
                return error
            failed = self._not_applied(error)
            failed.__cause__ = error
            return failed
        return None

    def _finish(self, connection: sqlite3.Connection, batch: list[Job]) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            full = _reason(error) is Reason.FULL and connection.in_transaction
            self._roll_back()
            if full:  # SQLite kept the transaction open, so it is certain that nothing was committed
                _fail(batch, self._not_applied(error), error)
                return
            self._drop_writer()  # after a failed fsync nothing that this connection believes is certain
            message = f"the commit to {self._path} failed and may or may not be on disk: {error}{_advice(error)}"
            _fail(batch, Ambiguous(message, tier=self.name, reason=_reason(error)), error)
            return
        for job in batch:
            job.settled = True

    def _not_applied(self, error: sqlite3.Error) -> NotApplied:
        message = f"nothing was written to {self._path}: {error}{_advice(error)}"
        return NotApplied(message, tier=self.name, reason=_reason(error))

    def _roll_back(self) -> None:
        self._reserved = 0  # the range may have been rolled back with the rest
        connection = self._writer
        if connection is not None and connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._drop_writer()

    def _drop_writer(self) -> None:
        """Close the writer's connection; the next write opens a new one."""
        connection, self._writer = self._writer, None
        self._data_version, self._reserved, self._relaxed = -1, 0, False
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

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
            newer = (version_of(held) if held is not None else 0) < version_of(frame)
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

    # Forks: SQLite keeps its locks per process and must not find its connections in a child

    def _before_fork(self) -> None:
        """Close every connection and let nobody open one; each is opened again when it is needed."""
        self._combiner.pause()
        self._drop_writer()
        self._gate.acquire()
        until = time.monotonic() + FORK_PATIENCE
        self._close_readers()
        while self._open_readers and time.monotonic() < until:
            time.sleep(0.0005)
            self._close_readers()

    def _after_fork_in_parent(self) -> None:
        self._gate.release()
        self._combiner.resume()

    def _after_fork_in_child(self) -> None:
        _abandoned.extend(self._open_readers)
        self._start()


def _apply(connection: sqlite3.Connection, space: int, write: Write, version: int, now: int) -> Written:
    """One write of a commit that is not all unconditional values."""
    key, draft, expect = write
    held = _held(connection, space, key) if expect is not None or draft.tombstone else None
    if held is not None and 0 < expires_at_of(held) <= now:
        held = None
    if expect is not None and expect != (version_of(held) if held is not None else 0):
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


def _fail(jobs: Sequence[Job], error: StoreError, cause: BaseException | None = None) -> None:
    for job in jobs:
        job.error, job.settled = type(error)(_bare(error), tier=error.tier, reason=error.reason), True
        job.error.__cause__ = cause or error.__cause__


def _bare(error: StoreError) -> str:
    return str(error).removeprefix(f"{error.tier}: ")


def _copy(source: sqlite3.Connection, part: Path) -> None:
    copy = sqlite3.connect(part, isolation_level=None)
    try:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
        copy.execute("BEGIN")
        copy.execute("UPDATE namespaces SET generation = generation + 1048576")
        copy.execute("UPDATE meta SET value = value + 4294967296 WHERE name = 'high'")
        copy.execute("COMMIT")
    finally:
        copy.close()


_forking = Lock()  # one fork at a time, so that two cannot wait for each other's tiers
_paused: list[FileTier] = []


def _before_fork() -> None:
    _forking.acquire()
    for tier in list(_open_tiers):
        tier._before_fork()
        _paused.append(tier)


def _after_fork_in_parent() -> None:
    while _paused:
        _paused.pop()._after_fork_in_parent()
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking
    _forking = Lock()
    while _paused:
        _paused.pop()._after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
