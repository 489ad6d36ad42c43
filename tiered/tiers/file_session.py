"""What can be done inside a write transaction of a file tier, with as few statements as it takes.

Values that are written unconditionally, and marks, gather in memory and go into the database by one statement for up
to `CHUNK` of them: before anything in the transaction looks, and before it ends. Namespaces and a range of versions
are remembered from one transaction to the next, until `PRAGMA data_version` tells that another connection wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tiered.entry import expires_at_of, keep_until_of, version_of
from tiered.tiers.base import CLEARED_MARKS, NOTHING_HAS, RETENTION_MS, Commit, Given, Mark, Write, Written
from tiered.tiers.file_history import checked, enter, last_version, line_of, start_anew
from tiered.tiers.file_store import LOG_COPIED, Which
from tiered.tiers.file_turn import in_turn
from tiered.tiers.sqlite import Connection, Error, first

CHUNK = 32
SPACES = 1000

_new: Any = tuple.__new__  # a named tuple's own constructor costs twice as much


def _for_each_count(before: str, row: str, after: str = "", between: str = ", ") -> list[str]:
    """The statement for one row, for two, … up to `CHUNK`; the connection keeps those in use prepared."""
    return ["", *(f"{before} {between.join([row] * count)} {after}" for count in range(1, CHUNK + 1))]


_PUT = _for_each_count(
    "INSERT INTO entries (space, key, frame, purge_at) VALUES",
    "(?, ?, ?, ?)",
    "ON CONFLICT (space, key) DO UPDATE SET frame = excluded.frame, purge_at = excluded.purge_at",
)
_MARK = _for_each_count(
    "INSERT INTO pending VALUES",
    "(?, ?, ?, ?, ?)",
    "ON CONFLICT DO UPDATE SET version = excluded.version, generation = excluded.generation",
)
_CONFIRM = _for_each_count(
    "DELETE FROM pending WHERE",
    "tier = ? AND namespace = ? AND key = ? AND version = ? AND generation = ?",
    between=" OR ",
)
_BURY = "INSERT INTO dead_spaces SELECT ? WHERE EXISTS (SELECT 1 FROM entries WHERE space = ?)"
_DROP_CLEARED = (
    "DELETE FROM pending WHERE namespace = ?"
    " AND key <= coalesce((SELECT key FROM pending WHERE namespace = ? ORDER BY key LIMIT 1 OFFSET ?), x'')"  # a blob is above texts
)
_DELETE = "DELETE FROM entries WHERE space = ? AND key = ? RETURNING CAST(frame AS BLOB)"


class Session:
    """The writing connection and what is known of its database. For one thread at a time; raises `sqlite.Error`.

    Every method but `begin`, `roll_back`, `copy_log_back` and `close` is for use inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.log: Which = None
        """The log of its first transaction."""
        connection.execute("PRAGMA busy_timeout=0")  # `in_turn` waits
        connection.execute("PRAGMA temp_store=MEMORY")  # how to undo a statement; that of 24 rows outgrows 64 KiB
        connection.wal_autocheckpoint(LOG_COPIED // first(connection, "PRAGMA page_size")[0])
        self._rows: list[object] = []
        self._marks: list[object] = []
        self._given: list[Given] = []
        """What this transaction has told."""
        self._spaces: dict[str, tuple[int, int]] = {}
        self._last = self._stored = -1  # the last version given, and the one in the database; negative: unknown
        self._adopted: list[str] = []
        self._marks_of: tuple[Sequence[str], list[str]] = ((), [])
        self._data_version = -1
        self._entered = self._wrote = False

    # The transaction

    def begin(self) -> None:
        in_turn(self.connection, "BEGIN IMMEDIATE")
        (data_version,) = first(self.connection, "PRAGMA data_version")
        if data_version != self._data_version:
            self._forget()
            self._remember()
            self._data_version = data_version

    def finish(self) -> None:
        """Do all that is left but the commit; an error here means that nothing was changed."""
        self.flush()
        self._wrote = self._last != self._stored
        if self._wrote:
            if not self._entered:
                enter(self.connection, self._stored)
            self.connection.execute("UPDATE store SET version = ?", (self._last,))

    def end(self) -> None:
        """Commit what is finished. After an error `in_transaction` tells whether SQLite kept the transaction open."""
        self.connection.execute("COMMIT")
        self._given.clear()
        self._stored = self._last
        self._entered = self._entered or self._wrote

    def roll_back(self) -> None:
        self._forget()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def flush(self) -> None:
        """Bring the database up to date with what was asked for."""
        if self._rows:
            self._execute(_PUT, 4, self._rows)
        if self._marks:
            self._execute(_MARK, 5, self._marks)

    def flushed(self) -> Connection:
        """The connection, for what is done in this transaction by others."""
        self.flush()
        return self.connection

    def copy_log_back(self) -> None:
        """As the last connection does when it is closed: but apsw closes it without letting go of the interpreter's lock."""
        with suppress(Error):  # what is in the way, or fails, harms nothing: the log is there
            first(self.connection, "PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        self._forget()
        self.connection.close()

    def leave(self) -> Connection:
        """After a fork, in the child: the connection, which nobody here must use, whatever was under way."""
        abandoned, self.connection = self.connection, Connection(":memory:")
        self.connection.close()
        return abandoned

    # As a store of record

    def commit(self, namespace: str, writes: Sequence[Write], marks: Sequence[str], now: int) -> Commit:
        space, generation = self._spaces.get(namespace) or self._space(namespace)
        version = self._last + 1
        rows, written = self._rows, list[Written]()
        for write in writes:
            key, draft, expect, *_ = write
            if expect is None and not draft.flags:
                frame = draft.seal(version)
                rows += (space, key, frame, draft.keep_until)
                written.append(_new(Written, (version, frame, False)))
            else:
                written.append(self._apply(space, write, version, now))
            version += 1
        self._last = version - 1
        for tier in self._marked(marks):
            for write, it in zip(writes, written, strict=True):
                if it.version:
                    self._marks += (tier, namespace, write.key, it.version, generation)
        return Commit(generation, written)

    def clear(self, namespace: str) -> int:
        self.flush()
        space, generation = self._space(namespace)
        self.connection.execute(_BURY, (space, space))
        self.connection.execute(
            "UPDATE namespaces SET space = ?, generation = ? WHERE name = ?",
            (self._new_space(), generation + 1, namespace),
        )
        self.connection.execute(_DROP_CLEARED, (namespace, namespace, CLEARED_MARKS - 1))
        self._spaces.clear()
        return generation + 1

    def bump(self) -> None:
        self.connection.execute("UPDATE namespaces SET generation = generation + 1")
        self.connection.execute("UPDATE store SET generation = generation + 1")
        self._spaces.clear()

    def start_anew(self, line: str) -> bool:
        self.flush()
        if line_of(self.connection) != line:
            return False
        start_anew(self.connection)
        self._spaces.clear()
        self._remember()
        return True

    # As a cache tier

    def put(self, scope: str, items: Sequence[tuple[str, bytes]], until: int) -> list[bool]:
        """Each lives until its retention is over, or `until`, whichever is earlier."""
        self.flush()
        space, _ = self._space(scope)
        accepted = []
        for key, frame in items:
            held = self._held(space, key)
            newer = (version_of(held) if held is not None else 0) < version_of(frame)
            if newer:
                keep_until = keep_until_of(frame)
                purge_at = min(keep_until + RETENTION_MS, until) if keep_until else until
                self.connection.execute(_PUT[1], (space, key, frame, purge_at))
            accepted.append(newer)
        return accepted

    def discard(self, scope: str, items: Sequence[tuple[str, bytes]]) -> int:
        self.flush()
        space, _ = self._space(scope)
        sql = "DELETE FROM entries WHERE space = ? AND key = ? AND frame = ?"
        before = self.connection.total_changes()
        for key, frame in items:
            self.connection.execute(sql, (space, key, frame))
        return self.connection.total_changes() - before

    def forget(self, scope: str) -> None:
        self.flush()
        self.connection.execute("INSERT INTO dead_spaces SELECT space FROM namespaces WHERE name = ?", (scope,))
        self.connection.execute("DELETE FROM namespaces WHERE name = ?", (scope,))
        self._spaces.clear()

    # The journal

    def confirm(self, marks: Sequence[Mark]) -> None:
        self.flush()
        self._execute(_CONFIRM, 5, [field for mark in marks for field in mark[:5]])

    def adopt(self, tier: str, identity: str) -> bool:
        sql = "SELECT 1 FROM caches WHERE tier = ? AND identity = ?"
        if first(self.connection, sql, (tier, identity)):
            return False
        self.flush()
        sql = "INSERT INTO caches VALUES (?, ?) ON CONFLICT DO UPDATE SET identity = excluded.identity"
        self.connection.execute(sql, (tier, identity))
        self.bump()
        self._remember_adopted()
        return True

    def abandon(self, tier: str, limit: int) -> bool:
        """If `tier` has more than `limit` marks: forget them and its adoption, under a new generation."""
        self.flush()
        sql = "SELECT 1 FROM pending WHERE tier = ? LIMIT 1 OFFSET ?"
        if not first(self.connection, sql, (tier, limit)):
            return False
        self.connection.execute("DELETE FROM pending WHERE tier = ?", (tier,))
        self.connection.execute("DELETE FROM caches WHERE tier = ?", (tier,))
        self.bump()
        self._remember_adopted()
        return True

    # Private

    def _execute(self, statements: list[str], width: int, values: list[object]) -> None:
        """For all of `values`, which are gone then, in as few statements as it takes.

        Each gives the interpreter's lock away a few times, and among busy threads may have to wait for it again.
        """
        step = CHUNK * width
        for start in range(0, len(values), step):
            chunk = values[start : start + step]
            self.connection.execute(statements[len(chunk) // width], chunk)
        values.clear()

    def _apply(self, space: int, write: Write, version: int, now: int) -> Written:
        """A delete, or a write with a condition."""
        self.flush()
        key, draft, expect, after, given = write
        if expect is None:
            deleted = first(self.connection, _DELETE, (space, key))
            return Written(version, draft.seal(version), bool(deleted) and not 0 < expires_at_of(deleted[0]) <= now)
        held = self._held(space, key)
        if held is not None and 0 < expires_at_of(held) <= now:
            held = None
        if after is not None:
            expect = after.version
        if expect != (version_of(held) if held is not None else 0):
            return Written(0, b"", held is not None)
        frame = draft.seal(version)
        if given is not None:
            given.version = version
            self._given.append(given)
        if draft.tombstone:
            first(self.connection, _DELETE, (space, key))
        else:
            self.connection.execute(_PUT[1], (space, key, frame, draft.keep_until))
        return Written(version, frame, held is not None)

    def _held(self, space: int, key: str) -> bytes | None:
        sql = "SELECT CAST(frame AS BLOB) FROM entries WHERE space = ? AND key = ?"
        row = first(self.connection, sql, (space, key))
        return row[0] if row else None

    def _space(self, namespace: str) -> tuple[int, int]:
        """The number under which the namespace's entries are, and its generation; new if there is none."""
        known = self._spaces.get(namespace)
        if known is not None:
            return known
        sql = "SELECT space, generation FROM namespaces WHERE name = ?"
        row: tuple[int, int] | None = first(self.connection, sql, (namespace,))
        if row is None:
            sql = "UPDATE store SET spaces = spaces + 1 RETURNING spaces, generation"
            row = first(self.connection, sql)
            self.connection.execute(
                "INSERT INTO namespaces (name, space, generation) VALUES (?, ?, ?)", (namespace, *row)
            )
        checked(row[1])
        if len(self._spaces) >= SPACES:
            self._spaces.clear()
        self._spaces[namespace] = row
        return row

    def _new_space(self) -> int:
        sql = "UPDATE store SET spaces = spaces + 1 RETURNING spaces"
        return int(first(self.connection, sql)[0])

    def _marked(self, marks: Sequence[str]) -> list[str]:
        """The tiers that a commit leaves marks for: those of its chain, and those that other chains have adopted."""
        if self._marks_of[0] is not marks:
            self._marks_of = (marks, [*marks, *(tier for tier in self._adopted if tier not in marks)])
        return self._marks_of[1]

    def _remember(self) -> None:
        """What every commit needs to know of the store."""
        last = last_version(self.connection)
        if last < self._stored:  # somebody put the store back while it was open
            self._entered = False
        self._last = self._stored = last
        self._remember_adopted()

    def _remember_adopted(self) -> None:
        rows: list[Any] = self.connection.execute("SELECT tier FROM caches ORDER BY tier").fetchall()
        self._adopted = [tier for (tier,) in rows]
        self._marks_of = ((), self._adopted)

    def _forget(self) -> None:
        """Nothing that is remembered is certain any more."""
        for given in self._given:
            given.version = NOTHING_HAS
        self._given.clear()
        self._rows.clear()
        self._marks.clear()
        self._spaces.clear()
        self._data_version = -1
