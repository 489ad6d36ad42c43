"""The numbers of the processes that write intents: each holds a lock on its own, so that others see when it has died."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiered.errors import NotApplied, Reason
from tiered.tiers.file_place import explain

MOST = 10_000


class Writers:
    """The numbers of one directory, a file each. Not thread-safe; raises `NotApplied`.

    A number is used again when its holder has died. Who takes it finds the intents of those who had it before, and is the
    only one that could be mistaken for their writer.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory / "writers", name
        self._descriptor = -1
        self.number = -1
        """The one that this process holds; negative for none."""

    def take(self) -> int:
        """The lowest number that nobody holds; from now until `release`, or the end of this process, it is ours."""
        for number in range(MOST):
            descriptor = self._lock(number)
            if descriptor >= 0:
                self._descriptor, self.number = descriptor, number
                return number
        message = f"{MOST} processes write to {self._directory.parent} already"
        raise NotApplied(message, tier=self._name, reason=Reason.BUSY)

    def release(self) -> None:
        """Also in a forked child: there it closes the copy only, and the parent's lock stays."""
        descriptor, self._descriptor, self.number = self._descriptor, -1, -1
        if descriptor >= 0:
            os.close(descriptor)

    @contextmanager
    def vacant(self, number: int) -> Iterator[bool]:
        """Whether nobody holds `number`, and nobody does before the block ends."""
        descriptor = self._lock(number)
        try:
            yield descriptor >= 0
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _lock(self, number: int) -> int:
        """A descriptor that holds the lock; negative if another does."""
        path = self._directory / str(number)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if self._directory.is_symlink():
                message = f"{self._directory} is a symbolic link, which could lead anywhere; remove it"
                raise NotApplied(message, tier=self._name, reason=Reason.MISUSE)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._not_applied(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return -1
        except OSError as error:
            os.close(descriptor)
            raise self._not_applied(path, error) from error
        return descriptor

    def _not_applied(self, path: Path, error: OSError) -> NotApplied:
        return NotApplied(f"nothing was written: cannot lock {path}: {explain(error)}", tier=self._name)
