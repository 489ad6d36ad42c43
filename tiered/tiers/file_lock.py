"""The lock on a file tier's directory: held with others, or alone, by one process until it closes or dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from tiered.errors import ConfigError
from tiered.tiers.file_place import explain

_Result = TypeVar("_Result")

_gate = Lock()
"""Guards `_held`, and is held by whoever looks at a database file on the assumption that nobody here has it open."""
_held: dict[DirectoryLock, os.stat_result] = {}
"""The locks that this process holds, with the files that they are on."""


def _reopen() -> None:
    """In a forked child: whoever held it is not here."""
    global _gate
    _gate = Lock()


os.register_at_fork(after_in_child=_reopen)


class DirectoryLock:
    """Held from `acquire` until `release`, or until the process ends, kill -9 included. Thread-safe.

    It belongs to the process that acquired it. A forked child `disown`s it; its first use then acquires one of its
    own, which for a lock that excludes others fails for as long as the parent has it.
    """

    def __init__(self, directory: Path, name: str, *, shared: bool) -> None:
        self._directory = directory
        self._name = name
        self._shared = shared
        self._descriptor = -1
        self._inherited = 0
        self._mutex = Lock()  # guards the descriptor

    def acquire(self) -> None:
        """Returns at once if it is held already; raises `ConfigError`."""
        with self._mutex:
            if self._descriptor < 0:
                with _gate:
                    self._descriptor = self._lock(self._open())
                    _held[self] = os.fstat(self._descriptor)

    def release(self) -> None:
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                with _gate:
                    os.close(descriptor)
                    del _held[self]

    def if_first(self, look: Callable[[], _Result]) -> _Result | None:
        """What `look` finds at files that nobody else in this process has open, nor opens meanwhile; None if somebody has.

        To open and close a database file would end every lock that SQLite has on it in this process.
        """
        with _gate:
            mine = _held[self]
            others = (it for lock, it in _held.items() if lock is not self)
            return None if any(os.path.samestat(it, mine) for it in others) else look()

    def disown(self) -> None:
        """In a forked child, which has one thread: let go of what belongs to the parent, and leave it locked."""
        _reopen()  # whoever renews it after a fork may do so later than this
        self._mutex = Lock()
        self._inherited = os.getppid()
        self.release()  # closing only: LOCK_UN would unlock the parent's

    def _open(self) -> int:
        path = self._directory / "lock"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._name}: cannot open {path}: {explain(error, self._directory)}") from error

    def _lock(self, descriptor: int) -> int:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file = os.fstat(descriptor)
            os.close(descriptor)
            ours = any(os.path.samestat(it, file) for it in _held.values())
            raise ConfigError(f"{self._name}: {self._directory} is in use by {self._holder(ours)}") from error
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(f"{self._name}: cannot lock {self._directory}: {explain(error)}") from error
        return descriptor

    def _holder(self, ours: bool) -> str:
        if ours:
            alone = ", which asked for it alone (shared=False)" if self._shared else ""
            return f"a store of this process{alone}; share that one, or close it before"
        if self._shared:
            return "a process that has it alone (shared=False, or `tiered restore`); wait for it, stop it or use another directory"
        if self._inherited:
            return (
                f"the process {self._inherited} that this one was forked from, which asked for it alone (shared=False);"
                " build the store after forking, or with shared=True"
            )
        return "another process; stop it or use another directory"
