"""Putting a file tier's database back to a backup."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw

from tiered.errors import ConfigError
from tiered.tiers.file_backup import LEFT
from tiered.tiers.file_errors import SQLITE_ERRORS
from tiered.tiers.file_lock import DirectoryLock
from tiered.tiers.file_place import DATABASE, RESTORED, begun_restore, explain, prepare
from tiered.tiers.file_store import APPLICATION_ID, SCHEMA_VERSION, has_log
from tiered.tiers.sqlite import code_of, connect, first

COPIES = "restoring-"
"""How the names begin of directories with a backup and its log, in the store's directory, where there is room for them."""


def restore(backup: Path, directory: Path, name: str = "file") -> Path | None:
    """Make `directory` the store that `backup` is a copy of; where the one before has been moved, if there was one.

    A database whose log is beside it, as it is moved away here, is taken with it. Nobody may have the store open. Raises
    `ConfigError`, with nothing changed, for what is no whole backup of a file tier.
    """
    try:
        with ExitStack() as stack:
            _keep_closed(backup, directory, name, stack)
            whole = _with_its_log(backup, directory, stack)
            _check(whole, backup, name)
            return _put(whole, directory, name)
    except OSError as error:
        raise ConfigError(f"{name}: {backup} was not put back to {directory}: {explain(error)}") from error


def _keep_closed(backup: Path, directory: Path, name: str, stack: ExitStack) -> None:
    """What is another store's database must not be written to while it is copied, or the copy may be torn."""
    lock = backup.parent / "lock"
    if backup.name != DATABASE or not lock.exists() or backup.parent.resolve() == directory.resolve():
        return
    descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a copy may be on a disk that is read-only
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = f"{name}: {backup} is the database of a store in use; stop that, or give a backup of it"
        raise ConfigError(message) from None


def _with_its_log(backup: Path, directory: Path, stack: ExitStack) -> Path:
    """`backup`, or a copy that has what is in the log beside it."""
    log = Path(f"{backup}-wal")
    if not log.is_file() or not log.stat().st_size or not has_log(backup):
        return backup
    where = directory if directory.is_dir() else None
    whole = Path(stack.enter_context(TemporaryDirectory(prefix=COPIES, dir=where))) / backup.name
    shutil.copyfile(backup, whole)
    shutil.copyfile(log, f"{whole}-wal")
    with suppress(*SQLITE_ERRORS), closing(connect(whole)) as connection:  # what is damaged is found by `_check`
        connection.execute("PRAGMA journal_mode=DELETE")
    return whole


def _put(whole: Path, directory: Path, name: str) -> Path | None:
    database = prepare(directory, name)
    lock = DirectoryLock(directory, name, shared=False)
    lock.acquire()
    part = directory / "restored.part"
    try:
        _remove_left(directory)
        shutil.copyfile(whole, part)
        part.chmod(0o600)
        _sync(part)
        moved = _swap(part, database)
        _sync(directory)
    finally:
        part.unlink(missing_ok=True)
        lock.release()
    return moved


def _remove_left(directory: Path) -> None:
    """The copies of those that were killed; what is younger may be of one that goes on."""
    for left in directory.glob(f"{COPIES}*"):
        if left.stat().st_mtime < time.time() - LEFT:
            shutil.rmtree(left)


def _check(whole: Path, backup: Path, name: str) -> None:
    no_backup = f"{name}: {backup} is no backup of a file tier; give the path that `backup` wrote"
    if not whole.is_file():
        raise ConfigError(f"{name}: there is no file {backup}; give the path that `backup` wrote")
    try:
        with closing(connect(whole, parameters="mode=ro&immutable=1")) as connection:
            (application,) = first(connection, "PRAGMA application_id")
            (schema,) = first(connection, "PRAGMA user_version")
            if application != APPLICATION_ID:
                raise ConfigError(no_backup)
            if schema > SCHEMA_VERSION:
                raise ConfigError(f"{name}: {backup} was written by a newer tiered (schema {schema}); upgrade this one")
            (found,) = first(connection, "PRAGMA quick_check(1)")
    except SQLITE_ERRORS as error:
        if code_of(error) == apsw.SQLITE_NOTADB:
            raise ConfigError(no_backup) from error
        found = str(error)
    if found != "ok":
        raise ConfigError(f"{name}: {backup} is damaged ({found}); give another backup")


def _swap(part: Path, database: Path) -> Path | None:
    """Put `part` where `database` is, which is moved away with its log; where to.

    From the first step to the last there is a file that `begun_restore` finds: whoever opens the store meanwhile would find
    none, or one that lacks its log. Where a restore was interrupted this one takes its last steps.
    """
    begun = begun_restore(database.parent)
    if begun is None and not database.stat().st_size:
        os.replace(part, database)
        return None
    restored = begun or Path(f"{_aside(database)}{RESTORED}")
    moved = restored.with_name(restored.name.removesuffix(RESTORED))
    os.replace(part, restored)
    _sync(database.parent)
    with suppress(FileNotFoundError):
        os.rename(f"{database}-wal", f"{moved}-wal")
    Path(f"{database}-shm").unlink(missing_ok=True)
    if database.stat().st_size:  # else it has been moved, and `prepare` has made this one
        os.rename(database, moved)
    os.replace(restored, database)
    return moved


def _aside(database: Path) -> Path:
    """A name that nothing has, and no log."""
    name = f"{database.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}"
    names = (database.with_name(name if not n else f"{name}-{n}") for n in count())
    return next(it for it in names if not it.exists() and not Path(f"{it}-wal").exists())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
