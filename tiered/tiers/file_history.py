"""Where a file tier is in its history, so that it is noticed when somebody puts it back to an older copy.

Every session that writes enters itself, with a random id and the version that it found, in its first transaction. A *place*
is the last session and the last version of a moment. A store that was put back does not know that session; or it has
not reached that version; or it has sessions that came later and found less, however much was written since.

A *line* is what has versions and generations of its own: a store that starts anew, and a backup, are on another one.
"""

from __future__ import annotations

import random
import re
import secrets
import time

from tiered.entry import MAX_VERSION
from tiered.tiers.sqlite import Connection, Cursor, damaged, first

SESSIONS = "sessions (number INTEGER PRIMARY KEY, id INTEGER NOT NULL, found INTEGER NOT NULL)"
KEPT = 10_000
"""Sessions that are remembered: so many may begin while a cache is away."""
LEAP = 2**32

_ENTER = "INSERT INTO sessions (id, found) VALUES (?, ?)"
_FORGET = "DELETE FROM sessions WHERE number <= (SELECT max(number) FROM sessions) - ?"
_KNOWS = (
    "SELECT (SELECT version FROM store) >= :version"
    " AND (:number = 0 OR (SELECT id FROM sessions WHERE number = :number) = :id)"
    " AND NOT EXISTS (SELECT 1 FROM sessions WHERE number > :number AND found < :version)"
)
_A_PLACE = re.compile(r"(\d{1,10})-(\d{1,18})-(\d{1,18})-(\d{1,10})")


def enter(connection: Connection, found: int) -> None:
    """A session begins to write, at the version that it `found`. Inside a transaction."""
    connection.execute(_ENTER, (secrets.randbits(48), found))
    connection.execute(_FORGET, (KEPT,))


def last_version(connection: Connection | Cursor) -> int:
    """The last version that was given."""
    row = first(connection, "SELECT version FROM store")
    if row is None or not (isinstance(row[0], int) and 0 <= row[0] < MAX_VERSION >> 1):
        raise damaged("the last version is not one that was written")
    return int(row[0])


def checked(generation: object) -> int:
    """`generation` as it is in the database, if it was written here: what is in a column may be anything."""
    if type(generation) is not int or not 0 < generation < MAX_VERSION >> 1:
        raise damaged("a generation is not one that was written")
    return generation


def line_of(connection: Connection) -> str:
    """The line that the store is on."""
    return str(last_version(connection) // LEAP)


def place(cursor: Cursor) -> str:
    """Where the store is: the line, the last session there, and what of the version is not in the line."""
    version = last_version(cursor)
    session = first(cursor, "SELECT number, id FROM sessions ORDER BY number DESC LIMIT 1") or (0, 0)
    return f"{version // LEAP}-{session[0]}-{session[1]}-{version % LEAP}"


def knows(cursor: Cursor, place: str) -> bool:
    """Whether the store was at `place`, and has lost nothing of before, or is on a later line by now."""
    found = _A_PLACE.fullmatch(place)
    if found is None:
        return False
    line, number, id_, version = map(int, found.groups())
    current = last_version(cursor) // LEAP
    if current != line:
        return current > line
    values = {"number": number, "id": id_, "version": line * LEAP + version}
    return bool(first(cursor, _KNOWS, values)[0])


def start_anew(connection: Connection) -> None:
    """Go on with versions and generations that no cache has seen. Inside a transaction.

    The same copy may be put back again and again, and processes that live on believe in the highest generation only.
    """
    new = time.time_ns() // 1_000_000 << 20 | secrets.randbits(20)
    connection.execute("UPDATE namespaces SET generation = max(generation + 1, ?)", (new,))
    connection.execute("UPDATE store SET version = version + ?, generation = max(generation + 1, ?)", (LEAP, new))
    connection.execute("DELETE FROM pending")  # nothing is owed in a generation that no cache has seen
    connection.execute("DELETE FROM caches")


def first_generation() -> int:
    """A generation that no cache has seen, whatever store its keys were of before: a random start, not 1."""
    return random.SystemRandom().randrange(2**20, 2**40)
