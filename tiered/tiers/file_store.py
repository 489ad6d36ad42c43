"""The SQLite database of a file tier: how it is opened, what is in it, how it is copied."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Literal, NamedTuple

from tiered.errors import ConfigError
from tiered.handlers import pass_on
from tiered.tiers import file_turn
from tiered.tiers.file_errors import SQLITE_ERRORS, FileErrors
from tiered.tiers.file_history import SESSIONS, first_generation, start_anew
from tiered.tiers.file_lock import DirectoryLock
from tiered.tiers.file_place import begun_restore
from tiered.tiers.sqlite import Connection, connect, first, interrupted

APPLICATION_ID = 0x74696572  # "tier"
SCHEMA_VERSION = 1
READER_CACHE_KIB = 2000
"""Of each read connection. More was not faster at a million entries (benchmarks/million.py): the system has the pages,
too. Memory mapping was a little, but turns a disk error, or a file that somebody cuts off, into a dead process."""
READER_STATEMENTS = 100
WRITER_CACHE_KIB = 8000
WRITER_STATEMENTS = 512
"""One for each number of rows, of which any may be next (file_session.py), and four or more others in every transaction. With
as many for readers, who execute few different ones, a read takes a twelfth longer."""
PAGE_BYTES = 2048
"""Of a new database. A commit writes whole pages, so a small entry costs half the bytes that it would with SQLite's 4096; one of more
than a few kilobytes is in twice as many pages, which costs up to a fifth."""
SYNCS = ("full", "normal")
LOOKS = 0.25
"""Seconds between two looks at whether a file is still at its path."""
LOG_COPIED = 4_000_000
"""Bytes of the log (WAL) from which on a commit copies it back."""
LOG_BYTES = 2 * LOG_COPIED
"""What it keeps of the room that a large write took."""

LOG_GROWN = 4 * LOG_BYTES
"""From here on it is begun anew."""
LOG_PATIENCE = 0.25
"""Seconds for which that waits for those who write, and for those who read what is there."""
COPIED_PAGES = 4000
"""In one step of a copy: a fork waits for its end."""

STORE_TABLES = """
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL,
    version INTEGER NOT NULL, generation INTEGER NOT NULL, spaces INTEGER NOT NULL
);
CREATE TABLE caches (tier TEXT PRIMARY KEY NOT NULL, identity TEXT NOT NULL) WITHOUT ROWID;
"""

# `entries` has an index of keys beside its rows. With the rows in the tree of the keys (WITHOUT ROWID) that tree would
# branch only as often as rows fit into a page: the more and the larger the entries, the more pages a read would touch.
SCHEMA = """
CREATE TABLE namespaces (
    name TEXT PRIMARY KEY NOT NULL, space INTEGER NOT NULL UNIQUE, generation INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL, key TEXT NOT NULL, purge_at INTEGER NOT NULL, frame BLOB NOT NULL,
    UNIQUE (space, key)
);
CREATE INDEX entries_purge_at ON entries (purge_at) WHERE purge_at > 0;
CREATE TABLE pending (
    tier TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL,
    version INTEGER NOT NULL, generation INTEGER NOT NULL,
    PRIMARY KEY (namespace, key, tier)
) WITHOUT ROWID;
CREATE INDEX pending_version ON pending (tier, version);
CREATE TABLE dead_spaces (space INTEGER PRIMARY KEY);
"""
LATER = f"CREATE TABLE IF NOT EXISTS {SESSIONS}"
"""What stores that were made before do not have."""

_HAS_SESSIONS = "SELECT 1 FROM sqlite_master WHERE name = 'sessions'"
_WHOSE = "SELECT application_id, EXISTS (SELECT 1 FROM sqlite_master) FROM pragma_application_id"
"""In one statement: between two, another process may create the store."""


Which = tuple[int, int] | None
"""What tells the file that is at some path from every other; None if there is none."""


class Layout(NamedTuple):
    """What kind of database it is: `application_id` tells it from others, `tables` are beside `STORE_TABLES`."""

    application_id: int
    tables: str
    later: str = ""


STORE = Layout(APPLICATION_ID, SCHEMA, LATER)


class Database:
    """One database file of some layout, which is opened only while this process holds the lock on its directory. Thread-safe."""

    def __init__(
        self,
        path: Path,
        sync: Literal["full", "normal"],
        lock: DirectoryLock,
        errors: FileErrors,
        layout: Layout = STORE,
    ) -> None:
        self.path = path
        self.sync = sync
        self.errors = errors
        self._lock, self._layout = lock, layout
        self._place = os.fsencode(path)  # of a `Path` without memory os.stat says that it is of a wrong type
        self._log = self._place + b"-wal"
        self._file: Which = None

    def connect(self, cache_kib: int = WRITER_CACHE_KIB, statements: int = WRITER_STATEMENTS) -> Connection:
        """A connection for one user at a time, in autocommit mode; raises `sqlite.Error`, or `ConfigError` for the lock or the path."""
        self._lock.acquire()
        if self.replaced():  # SQLite would make a file where there is none
            raise ConfigError(f"{self.errors.name}: {self.errors.replaced()}")
        connection = connect(self.path, timeout=file_turn.BUSY_TIMEOUT, statements=statements)
        try:
            connection.execute(f"PRAGMA synchronous={self.sync.upper()}")
            connection.execute(f"PRAGMA cache_size=-{cache_kib}")
            connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def open(self) -> tuple[Connection, str]:
        """The first connection, and the store's id: refuses what is not ours, creates what is empty. `ConfigError`."""
        connection = None
        self._lock.acquire()
        try:
            self._check_place()
            connection = self.connect()
            identity = self._identity(connection)
            file_turn.in_turn(connection, "PRAGMA journal_mode=WAL")  # a restored backup is not in this mode
            self._file = _which(self._place)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, (*SQLITE_ERRORS, OSError)):
                pass_on(error)
                raise self.errors.unusable(error) from error
            raise
        return connection, identity

    def _check_place(self) -> None:
        if begun_restore(self.path.parent) is not None:
            raise ConfigError(
                f"{self.errors.name}: a `tiered restore` to {self.path.parent} was interrupted before its end; run it again"
            )
        if self._lock.if_first(self._has_a_strangers_log):
            raise ConfigError(
                f"{self.errors.name}: {self.path} is a backup that was copied over a store that had not been closed, whose"
                f" log is still there; copied like this the two would be mixed. Move {self.path.name}-wal away, or copy the"
                " backup with `tiered restore`, which does"
            )
        if os.stat(self._place).st_nlink > 1:
            raise ConfigError(
                f"{self.errors.name}: {self.path} has a second name (a hard link). Who opens it under that has another log beside it,"
                " and the two would damage it: put a copy in its place, or remove the other name"
            )

    def _has_a_strangers_log(self) -> bool:
        """Whether the log beside the file cannot be its own: a backup has none, and says so in its header."""
        try:
            return bool(self._log_size()) and not has_log(self.path)
        except FileNotFoundError:
            return False

    def log_has_grown(self) -> bool:
        """Whether the log is to be begun anew."""
        return self._log_size() > LOG_GROWN

    def _log_size(self) -> int:
        try:
            return os.stat(self._log).st_size
        except FileNotFoundError:
            return 0

    def replaced(self) -> bool:
        """Whether the file that was opened first is not at its path any more, or was left without its log: nothing written to
        it would be found again, and nothing that others write is found in it. Or whether it is as good as that here."""
        errors = self.errors
        return errors.log_removed or errors.inherited or (self._file is not None and _which(self._place) != self._file)

    def log(self) -> Which:
        """Of the log (WAL). It stays the same for as long as a connection is open that has read or written.

        Not for every commit: whoever asked for its times lets Linux give the next write one of its own, which goes to the disk
        as well, and takes a tenth of a commit. `log_is_there` asks for none.
        """
        return _which(self._log)

    def log_is_there(self) -> bool:
        return os.access(self._log, os.F_OK)

    def _identity(self, connection: Connection) -> str:
        name, path = self.errors.name, self.path
        application, in_use = first(connection, _WHOSE)
        if application != self._layout.application_id:
            if in_use:
                what = "the store of a file tier" if application == APPLICATION_ID else "another program's database"
                raise ConfigError(f"{name}: {path} is {what}; choose another directory")
            _create(connection, self._layout)
        (schema,) = first(connection, "PRAGMA user_version")
        if schema > SCHEMA_VERSION:
            raise ConfigError(f"{name}: {path} was written by a newer tiered (schema {schema}); upgrade this one")
        if first(connection, "SELECT 1 FROM sqlite_master WHERE name = 'store'"):
            row = first(connection, "SELECT identity FROM store")
            if row:
                if self._layout.later and not first(connection, _HAS_SESSIONS):
                    file_turn.in_turn(connection, self._layout.later)
                return str(row[0])
        raise ConfigError(f"{name}: {path} is damaged: its store id is gone; {self.errors.remedy}")


def _which(place: bytes) -> Which:
    try:
        status = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def has_log(path: Path) -> bool:
    """Whether the header of this database says that it has a log (WAL) beside it; True of what is no database."""
    with open(path, "rb") as file:
        return file.read(20)[18:20] != b"\x01\x01"


def copy(source: Connection, part: Path) -> None:
    """Copy the database to the file `part`, under generations and versions that no cache has seen. To sync it is the caller's.

    Raises `InterruptError` when `source` was interrupted.
    """
    target = connect(part)
    try:
        target.execute("PRAGMA synchronous=OFF")
        source.execute("BEGIN")
        first(source, "SELECT 1 FROM sqlite_master")  # from here on one state, whoever writes between two steps
        with target.backup("main", source, "main") as pages:
            while not pages.step(COPIED_PAGES):
                if source.is_interrupted:
                    raise interrupted()
        target.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
        target.execute("BEGIN")
        start_anew(target)
        target.execute("COMMIT")
    finally:
        target.close()


def renew_log(connection: Connection) -> None:
    """Begin the log anew; raises `sqlite.Error`.

    SQLite does so when it finds everything copied and nobody reading, which among processes that write all the time is never:
    then it grows for as long as they do. Here nobody writes meanwhile. Whoever reads for long, as a backup does, keeps it.
    """
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of the work, while others go on
    connection.execute(f"PRAGMA busy_timeout={int(1000 * LOG_PATIENCE)}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _create(connection: Connection, layout: Layout) -> None:
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    file_turn.in_turn(connection, "PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not first(connection, "SELECT 1 FROM sqlite_master LIMIT 1"):  # two processes may race to here
        for statement in (STORE_TABLES + layout.tables).split(";"):
            connection.execute(statement)
        row = (uuid.uuid4().hex, first_generation())
        connection.execute("INSERT INTO store VALUES (1, ?, 0, ?, 0)", row)
        connection.execute(f"PRAGMA application_id={layout.application_id}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")
