"""A process's turn to write to a database that other processes write to as well."""

from __future__ import annotations

from time import monotonic, sleep

from tiered.tiers.sqlite import BusyError, Connection

BUSY_TIMEOUT = 5.0
NAP, LONGEST_NAP = 0.0001, 0.0005
"""Seconds. SQLite's own naps grow to a tenth of a second: among processes that write all the time, who naps that long comes
last again and again, for seconds, and meanwhile the disk has nothing to do."""


def in_turn(connection: Connection, statement: str) -> None:
    """Execute what needs a lock, `BEGIN IMMEDIATE` say, once it is free; raises `sqlite.Error`.

    That is SQLITE_BUSY after `BUSY_TIMEOUT` seconds. The naps are ours where `connection` does not wait by itself
    (`PRAGMA busy_timeout=0`), and where SQLite never does: `PRAGMA journal_mode=WAL` reads before it locks.
    """
    nap, end = NAP, 0.0
    while True:
        try:
            connection.execute(statement)
            return
        except BusyError:
            end = end or monotonic() + BUSY_TIMEOUT
            if monotonic() >= end:
                raise
        sleep(nap)
        nap = min(1.5 * nap, LONGEST_NAP)
