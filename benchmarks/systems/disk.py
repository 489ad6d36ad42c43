"""The durable third tier of the hand-rolled peers: diskcache, or without it a table of SQLite."""

from __future__ import annotations

import importlib.util
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Disk(Protocol):
    """Text by key. Threads and processes may share it."""

    def get(self, key: str) -> str | None: ...

    def set(self, key: str, value: str) -> None: ...

    def fill(self, values: Mapping[str, str]) -> None: ...

    def close(self) -> None: ...


def open_disk(directory: Path, *, durable: bool = False) -> Disk:
    """`durable`: a set is on the disk when it returns (synchronous=FULL), as in tiered; as it comes it is not."""
    kind = DiskCache if importlib.util.find_spec("diskcache") else Table
    return kind(directory, "FULL" if durable else "NORMAL")


class DiskCache:
    """diskcache as it comes, except that it never evicts."""

    def __init__(self, directory: Path, synchronous: str) -> None:
        import diskcache

        level = {"NORMAL": 1, "FULL": 2}[synchronous]
        self._cache: Any = diskcache.Cache(str(directory / "disk"), eviction_policy="none", sqlite_synchronous=level)
        self.get, self.close = self._cache.get, self._cache.close

    def set(self, key: str, value: str) -> None:
        self._cache.set(key, value)

    def fill(self, values: Mapping[str, str]) -> None:
        with self._cache.transact():
            for key, value in values.items():
                self._cache.set(key, value)


class Table:
    """One connection and one lock; WAL, as diskcache."""

    def __init__(self, directory: Path, synchronous: str) -> None:
        file = directory / "disk.sqlite3"
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=60)
        self._lock = threading.Lock()
        for statement in (
            "PRAGMA journal_mode=WAL",
            f"PRAGMA synchronous={synchronous}",
            "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
        ):
            self._connection.execute(statement)

    def get(self, key: str) -> str | None:
        with self._lock:
            row = self._connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))

    def fill(self, values: Mapping[str, str]) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values.items())
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
