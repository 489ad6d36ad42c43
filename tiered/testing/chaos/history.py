"""What a workload did and saw: one event per call and key, in memory or as JSON lines that survive a killed process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

Token = str | int | None
"""What identifies a value: each `set` and `update` writes another one; an int is a counter; None is "absent"."""

WRITES = frozenset({"set", "set_many", "delete", "increment", "update"})


class Event(NamedTuple):
    """One key's part in one call. Times are seconds of CLOCK_MONOTONIC, which the processes of a machine share."""

    process: str
    """Who has one memory: a backend in a process. The promises about "one process" are about this."""
    call: int
    """Unique in its process; the keys of a batch have the same."""
    op: str
    """set, set_many, delete, increment, update; get, lookup, get_many; final: read when all was over."""
    key: str
    start: float
    end: float | None = None
    """None: it never returned."""
    value: Token = None
    """What was read or written; None for a delete, an increment without an answer, and a read of nothing."""
    version: int = 0
    """0: not told."""
    base: Token = None
    """An update: what it replaced."""
    error: str = ""
    """The class of the error, with its reason."""
    tier: str = ""

    @property
    def write(self) -> bool:
        return self.op in WRITES

    @property
    def acknowledged(self) -> bool:
        return self.end is not None and not self.error

    @property
    def denied(self) -> bool:
        """The error promises that nothing happened."""
        return self.error.startswith(("NotApplied", "InvalidKey", "InvalidValue"))


class Recorder(Protocol):
    """Where a workload reports to. Thread-safe."""

    def add(self, event: Event) -> None:
        """Keep `event`. A write is added twice, first without its end: who is killed in it leaves that trace."""


class History:
    """A recorder in memory."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def add(self, event: Event) -> None:
        self._events.append(event)

    def events(self) -> list[Event]:
        """The events so far, each once."""
        return merged(self._events)


class HistoryFile:
    """A recorder that appends to a file, one unbuffered line per event: what was added survives SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, event: Event) -> None:
        os.write(self._file, json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_history(paths: Iterable[Path]) -> list[Event]:
    """The events in `paths`, each once; a last line that was cut off by a kill is left out."""
    events: list[Event] = []
    for path in paths:
        for line in path.read_bytes().split(b"\n")[:-1]:
            events.append(Event(*json.loads(line)))
    return merged(events)


def merged(events: Iterable[Event]) -> list[Event]:
    """`events`, without the beginnings of calls whose end is there too."""
    last = {(event.process, event.call, event.key): event for event in events}
    return list(last.values())
