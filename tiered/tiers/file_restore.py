"""Putting a file tier's database back to a backup, and noticing one that was put back beside what is left of the one before."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from tiered.errors import ConfigError
from tiered.tiers.file_lock import DirectoryLock
from tiered.tiers.file_place import explain, prepare
from tiered.tiers.file_store import APPLICATION_ID, SCHEMA_VERSION

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a database in use, and leaves there when a process ends without closing it."""


def restore(backup: Path, directory: Path, name: str = "file") -> Path | None:
    """Make `directory` the store that `backup` is a copy of; where the one before has been moved, if there was one.

    Nobody may have it open. Raises `ConfigError`, with nothing changed, for what is no whole backup of a file tier.
    """
    _check(backup, name)
    database = prepare(directory, name)
    lock = DirectoryLock(directory, name, shared=False)
    lock.acquire()
    part = directory / "restored.part"
    try:
        shutil.copyfile(backup, part)
        part.chmod(0o600)
        _sync(part)
        moved = _move_away(database)
        os.replace(part, database)
        _sync(directory)
    except OSError as error:
        raise ConfigError(f"{name}: {backup} was not put back to {directory}: {explain(error)}") from error
    finally:
        part.unlink(missing_ok=True)
        lock.release()
    return moved


def _check(backup: Path, name: str) -> None:
    no_backup = f"{name}: {backup} is no backup of a file tier; give the path that `backup` wrote"
    if not backup.is_file():
        raise ConfigError(f"{name}: there is no file {backup}; give the path that `backup` wrote")
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fspath(backup))}?mode=ro&immutable=1", uri=True)) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (schema,) = connection.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise ConfigError(no_backup)
            if schema > SCHEMA_VERSION:
                raise ConfigError(f"{name}: {backup} was written by a newer tiered (schema {schema}); upgrade this one")
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise ConfigError(no_backup) from error
        found = str(error)
    if found != "ok":
        raise ConfigError(f"{name}: {backup} is damaged ({found}); give another backup")


def _move_away(database: Path) -> Path | None:
    """The log first: without its log the database is the older one, but never another one's."""
    if not database.stat().st_size:
        database.unlink()
        return None
    moved = database.with_name(f"{database.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}")
    with suppress(FileNotFoundError):
        os.rename(f"{database}-wal", f"{moved}-wal")
    Path(f"{database}-shm").unlink(missing_ok=True)
    os.rename(database, moved)
    return moved


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
