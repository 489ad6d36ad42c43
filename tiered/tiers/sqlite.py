"""SQLite, by the driver apsw, which brings an SQLite of its own.

That of the system is not trusted with the store of record: before 3.51.3 a database in WAL mode may be damaged when two
connections copy the log back while a third one writes (https://sqlite.org/wal.html#walresetbug), and systems keep theirs for
years. Besides, apsw is faster, and lets go of the interpreter's lock less often than Python's own module.

A process must not open a database with both: each has its own SQLite, which knows nothing of the other. When one closes the file
the system ends the locks that the other has, and the one removes the log (WAL) to which the other goes on writing: that is lost.

A statement is done when all its rows were asked for; until then its cursor, and whoever keeps that, holds a state of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from apsw import BusyError, CantOpenError, Connection, Cursor, Error, InterruptError

__all__ = [
    "ABANDONED",
    "BusyError",
    "CantOpenError",
    "Connection",
    "Cursor",
    "Error",
    "InterruptError",
    "code_of",
    "connect",
    "damaged",
    "first",
    "interrupted",
]

_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI

ABANDONED: list[Any] = []
"""Connections that are neither used nor closed, since closing would touch the files: of the parent, busy at a fork, in the
child; and of a database that lost its log."""


def connect(path: Path, *, timeout: float = 5.0, parameters: str = "", statements: int = 100) -> Connection:
    """A connection in autocommit mode, for one user at a time, that waits `timeout` seconds for a lock; raises `Error`.

    `parameters` are those of a URI (https://sqlite.org/uri.html). The `statements` executed last stay prepared, each time
    that one is executed counted, and are searched one by one; 512 at most.
    """
    # As a URI, in which a path may have any bytes.
    connection = Connection(f"{path.absolute().as_uri()}?{parameters}", _FLAGS, statementcachesize=statements)
    # Else each call would prepare its statement anew, to see whether the values at hand ask for another plan.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.set_busy_timeout(int(1000 * timeout))
    return connection


def first(db: Connection | Cursor, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
    """The first row that `sql` finds, or None; what it does is done to its end, and a snapshot that it took is given up."""
    rows = db.execute(sql, values).fetchall()
    return rows[0] if rows else None


def code_of(error: BaseException) -> int:
    """SQLite's extended result code; 0 if it is no error of SQLite."""
    code: int = getattr(error, "extendedresult", 0)
    return code


def damaged(what: str) -> Error:
    """For what SQLite returns without complaint although this library never wrote it."""
    error = apsw.CorruptError(what)
    vars(error).update(result=apsw.SQLITE_CORRUPT, extendedresult=apsw.SQLITE_CORRUPT)
    return error


def interrupted() -> Error:
    """For work of many calls whose connection was interrupted between two of them: SQLite itself raises it only within one."""
    error = InterruptError("interrupted")
    vars(error).update(result=apsw.SQLITE_INTERRUPT, extendedresult=apsw.SQLITE_INTERRUPT)
    return error
