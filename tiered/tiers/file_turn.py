"""A process's turn to write to a database that other processes write to as well."""

from __future__ import annotations

import sqlite3
from time import monotonic, sleep

from tiered.tiers import file_store

NAP, LONGEST_NAP = 0.0001, 0.0005
"""Seconds. SQLite's own naps grow to a tenth of a second: among processes that write all the time, who naps that long comes
last again and again, for seconds, and meanwhile the disk has nothing to do."""


def begin_in_turn(connection: sqlite3.Connection) -> None:
    """BEGIN IMMEDIATE, when nobody else writes; raises `sqlite3.Error` (SQLITE_BUSY after `BUSY_TIMEOUT` seconds).

    `connection` must not wait by itself (`PRAGMA busy_timeout=0`): inside the transaction there is nothing to wait for.
    """
    nap, end = NAP, 0.0
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            end = end or monotonic() + file_store.BUSY_TIMEOUT
            if monotonic() >= end:
                raise
        sleep(nap)
        nap = min(1.5 * nap, LONGEST_NAP)
