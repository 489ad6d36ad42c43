"""The limit: the three tiers of bare parts, shared commits and durable sets, with none of what keeps tiers right.

No versions, pending marks, checksums, debts, breaker, metrics or limits: what they cost a call is the distance to this.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hiredis

from benchmarks.systems import MEMORY_ENTRIES

_BATCH = 32


class Wire:
    """A socket and hiredis. For one thread."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader, self._buffer = hiredis.Reader(), bytearray(65_536)
        self._feed: Any = self._reader.feed  # takes any buffer, whatever its stub says

    def ask(self, *command: Any) -> Any:
        self._socket.sendall(hiredis.pack_command(command))
        while (reply := self._reader.gets()) is False:
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise ConnectionError("the server closed the connection")
            self._feed(self._buffer, 0, count)
        return reply


class Waiting:
    """A row that waits for its commit."""

    def __init__(self, row: tuple[str, bytes]) -> None:
        self.row, self.done = row, False


class BareParts:
    """Whoever gets the disk's lock commits what waits for it, in one statement."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self._port, self._local = urlsplit(redis_url).port or 6379, threading.local()
        self._memory: OrderedDict[str, str] = OrderedDict()
        self._lock, self._waiting = threading.Lock(), list[Waiting]()
        self._disk = sqlite3.connect(directory / "bare.sqlite3", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE kept (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
        ):
            self._disk.execute(statement)

    def get(self, key: str) -> str | None:
        value = self._memory.get(key)
        if value is not None:
            with suppress(KeyError):  # another thread let it go
                self._memory.move_to_end(key)
            return value
        reply = self._wire().ask("GET", key)
        if reply is None:
            return None
        text: str = reply.decode()
        self._keep(key, text)
        return text

    def set(self, key: str, value: str) -> None:
        it = Waiting((key, value.encode()))
        self._waiting.append(it)
        with self._lock:
            while not it.done:
                batch = self._waiting[:_BATCH]
                del self._waiting[:_BATCH]
                rows = ", ".join(["(?, ?)"] * len(batch))
                upsert = f"INSERT INTO kept VALUES {rows} ON CONFLICT DO UPDATE SET value = excluded.value"
                self._disk.execute(upsert, [field for waiting in batch for field in waiting.row])
                for waiting in batch:
                    waiting.done = True
        self._wire().ask("SET", key, value)
        self._keep(key, value)

    def fill(self, values: Mapping[str, str]) -> None:
        self._disk.execute("BEGIN")
        self._disk.executemany("INSERT INTO kept VALUES (?, ?)", [(k, v.encode()) for k, v in values.items()])
        self._disk.execute("COMMIT")
        self._wire().ask("MSET", *(text for item in values.items() for text in item))

    def converged(self) -> None:
        return None

    def close(self) -> None:
        self._disk.close()

    def _wire(self) -> Wire:
        try:
            wire: Wire = self._local.wire
        except AttributeError:
            wire = self._local.wire = Wire(self._port)
        return wire

    def _keep(self, key: str, value: str) -> None:
        self._memory[key] = value
        if len(self._memory) > MEMORY_ENTRIES:
            self._memory.popitem(last=False)
