"""The SQLite database of a FileTier: where it may live, how it is opened, what is in it."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

from tiered.errors import ConfigError

APPLICATION_ID = 0x74696572  # "tier"
SCHEMA_VERSION = 1
BUSY_TIMEOUT = 5.0
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "ceph", "glusterfs", "fuse.gluster", "afs", "lustre")

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, space INTEGER NOT NULL UNIQUE, generation INTEGER NOT NULL
);
CREATE TABLE entries (
    space INTEGER NOT NULL, key TEXT NOT NULL, frame BLOB NOT NULL, purge_at INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE INDEX entries_purge_at ON entries (purge_at) WHERE purge_at > 0;
CREATE TABLE pending (
    tier TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL,
    version INTEGER NOT NULL, generation INTEGER NOT NULL,
    PRIMARY KEY (tier, namespace, key)
) WITHOUT ROWID;
CREATE TABLE dead_spaces (space INTEGER PRIMARY KEY);
"""


def prepare(directory: Path, name: str) -> Path:
    """Make or check the directory; returns the database's path. Raises `ConfigError` before anything is opened."""
    _refuse_symlink(directory, name)
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{name}: {directory} is not a directory; give FileTier a directory of its own")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{name}: cannot make the directory {directory}: {error.strerror}") from error
    kind = file_system(directory)
    if kind.startswith(NETWORK_FILE_SYSTEMS):
        raise ConfigError(f"{name}: {directory} is on {kind}, where SQLite's locks do not hold; use a local disk")
    path = directory / "tiered.sqlite3"
    _refuse_symlink(path, name)
    try:
        # Never open and close an existing database: that would drop every POSIX lock this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(f"{name}: cannot write {path}: {error.strerror}; check its owner and the mount") from error
    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError(f"{name}: {path} is not a regular file")
    return path


def open_database(path: Path, sync: Literal["full", "normal"]) -> sqlite3.Connection:
    """A connection for one user at a time, in autocommit mode."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA synchronous={'FULL' if sync == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA cache_size=-8000")
    except BaseException:
        connection.close()
        raise
    return connection


def initialise(connection: sqlite3.Connection, path: Path, name: str) -> str:
    """Create the schema in an empty database, or check that it is ours; returns the store's id."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                raise ConfigError(f"{name}: {path} is another program's database; choose another directory")
            _create(connection)
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema > SCHEMA_VERSION:
            raise ConfigError(f"{name}: {path} was written by a newer tiered (schema {schema}); upgrade this one")
        (identity,) = connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
    except sqlite3.OperationalError as error:
        raise ConfigError(f"{name}: cannot open {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{name}: {path} is damaged or no SQLite database ({error}); restore a backup") from error
    return str(identity)


def file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`; empty where the system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    target, best, kind = str(directory.resolve()), "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = fields.split()[4]
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, rest.split()[0]
    return kind


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():  # two processes may race to here
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('store_id', ?), ('high', 0), ('spaces', 0)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _refuse_symlink(path: Path, name: str) -> None:
    if path.is_symlink():
        raise ConfigError(f"{name}: {path} is a symbolic link, which could lead anywhere; give the real path")
