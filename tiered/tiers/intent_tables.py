"""The tables of a journal of intents, and what is done to them inside a transaction.

A write is announced by an *intent* before the record is asked. Its end is one of three: it did not happen, and the intent
goes; it happened, and a *mark* takes its place for every cache tier that has not confirmed it; or nobody knows, and the
intent is a *doubt* until nothing can come of it any more, and then a mark without a version. A tier has one mark per key.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from tiered.entry import MAX_VERSION
from tiered.tiers.base import CLEARED_MARKS
from tiered.tiers.file_store import Layout
from tiered.tiers.intent_changes import Changes
from tiered.tiers.sqlite import Connection, Cursor, damaged, first

NOBODY = -1
"""The writer of a doubt."""
UNBELIEVED = "\0"
"""How the identity of a cache tier begins that is to be adopted anew, and gets marks meanwhile."""
RECORD = ""
"""Stands for the record itself among the tiers that are believed in; no tier can be called so."""

LAYOUT = Layout(
    0x7469696E,  # "tiin"
    """
CREATE TABLE record (id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL);
CREATE TABLE intents (id INTEGER PRIMARY KEY, writer INTEGER NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL);
CREATE INDEX intents_key ON intents (namespace, key);
CREATE TABLE marks (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    tier TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL,
    version INTEGER NOT NULL, generation INTEGER NOT NULL,
    UNIQUE (namespace, key, tier)
);
CREATE INDEX marks_place ON marks (tier, place);
""",
)

# The highest version stays, at a new place: whoever is about to confirm the mark that was there must not confirm this one.
_MARK = (
    "INSERT OR REPLACE INTO marks (tier, namespace, key, version, generation)"
    " SELECT ?, ?, ?, max(?, coalesce(max(version), 0)), max(?, coalesce(max(generation), 0))"
    " FROM marks WHERE tier = ? AND namespace = ? AND key = ?"
)
_CONFIRM = "DELETE FROM marks WHERE tier = ? AND namespace = ? AND key = ? AND version = ? AND generation = ?"
_CONFIRM_AT = "DELETE FROM marks WHERE place = ?"


def announce(connection: Connection, writer: int, namespace: str, intents: Iterable[tuple[int, str]]) -> None:
    rows = [(intent, writer, namespace, key) for intent, key in intents]
    connection.executemany("INSERT INTO intents VALUES (?, ?, ?, ?)", rows)


def write_out(connection: Connection, changes: Changes) -> None:
    """Bring intents and marks up to date with `changes`."""
    adopted = tiers(connection) if changes.applied else ()
    for (namespace, key, version), it in changes.applied.items():
        connection.execute("DELETE FROM intents WHERE id = ?", (it.intent,))
        if connection.changes():
            for tier in dict.fromkeys((*it.tiers, *adopted)):
                if tier not in it.confirmed:
                    connection.execute(_MARK, (tier, namespace, key, version, it.generation, tier, namespace, key))
    connection.executemany("DELETE FROM intents WHERE id = ?", [(intent,) for intent in changes.over])
    rows = [(NOBODY, intent) for intent in changes.doubtful]
    connection.executemany("UPDATE intents SET writer = ? WHERE id = ?", rows)
    for mark in changes.confirmed:
        connection.execute(*((_CONFIRM_AT, (mark.place,)) if mark.place else (_CONFIRM, mark[:5])))


def abandon_writer(connection: Connection, writer: int) -> None:
    """Its process is dead: what it had announced is in doubt."""
    connection.execute("UPDATE intents SET writer = ? WHERE writer = ?", (NOBODY, writer))


def end_doubts(connection: Connection, doubts: Sequence[int]) -> None:
    """Nothing can come of these any more: each is a mark of an unknown version now, for whoever replays."""
    adopted = tiers(connection)
    for intent in doubts:
        sql = "DELETE FROM intents WHERE id = ? AND writer = ? RETURNING namespace, key"
        for where in connection.execute(sql, (intent, NOBODY)).fetchall():
            for tier in adopted:
                connection.execute(_MARK, (tier, *where, MAX_VERSION, 0, tier, *where))


def tiers(connection: Connection) -> list[str]:
    """Those that were adopted once: every write leaves marks for them."""
    sql = "SELECT tier FROM caches WHERE tier <> ? ORDER BY tier"
    rows: list[Any] = connection.execute(sql, (RECORD,)).fetchall()
    return [tier for (tier,) in rows]


def names(rows: Iterable[Sequence[object]]) -> list[tuple[str, str]]:
    """The namespaces and keys in `rows`; raises `sqlite.Error` if one is not as it was written."""
    found = list[tuple[str, str]]()
    for namespace, key in rows:
        if not (isinstance(namespace, str) and isinstance(key, str)):
            raise damaged("an intent is not one that was written")
        found.append((namespace, key))
    return found


def bind(connection: Connection, identity: str) -> str:
    """Whose journal this is: from the first call on, that of the record `identity`."""
    connection.execute("INSERT OR IGNORE INTO record VALUES (1, ?)", (identity,))
    return str(first(connection, "SELECT identity FROM record")[0])


def believed(connection: Connection | Cursor, tier: str) -> str | None:
    """The identity of `tier` that is believed in."""
    identity = _identity(connection, tier)
    return None if identity.startswith(UNBELIEVED) else identity or None


def unbelieve(connection: Connection, tier: str) -> str:
    """Nobody believes in `tier` from now on, and it gets marks; what tells `believe` and `abandon` that this went on."""
    identity = _identity(connection, tier)
    if not identity.startswith(UNBELIEVED):
        identity = UNBELIEVED + uuid.uuid4().hex
        sql = "INSERT INTO caches VALUES (?, ?) ON CONFLICT DO UPDATE SET identity = excluded.identity"
        connection.execute(sql, (tier, identity))
    return identity


def believe(connection: Connection, tier: str, identity: str, since: str) -> bool:
    """Whether `tier` has got marks ever `since`, or another process was faster; now its data `identity` are believed in."""
    sql = "UPDATE caches SET identity = ? WHERE tier = ? AND identity IN (?, ?)"
    connection.execute(sql, (identity, tier, since, identity))
    return bool(connection.changes())


def drop_cleared(connection: Connection, namespace: str, generation: int) -> None:
    """Marks of before `generation`, unless they are many, but for those of which nobody knows whether they are."""
    old = "SELECT place FROM marks WHERE namespace = ? AND generation < ? AND version < ? LIMIT ?"
    values = (namespace, generation, MAX_VERSION, CLEARED_MARKS)
    connection.execute(f"DELETE FROM marks WHERE place IN ({old})", values)


def abandon(connection: Connection, tier: str, since: str, until: int) -> None:
    """Forget marks, and the tier, unless somebody adopted it meanwhile: one that is in no chain any more needs no others."""
    connection.execute("DELETE FROM caches WHERE tier = ? AND identity = ?", (tier, since))
    connection.execute("DELETE FROM marks WHERE tier = ? AND place <= ?", (tier, until))


def _identity(connection: Connection | Cursor, tier: str) -> str:
    """What there is of `tier`; empty for nothing."""
    row = first(connection, "SELECT identity FROM caches WHERE tier = ?", (tier,))
    return "" if row is None else str(row[0])
