"""What tells one life of a directory as a cache from the next: a token in a file that is locked by whoever uses it.

A cache's puts are not durable, so after a power cut older entries would be there; and while nobody uses it, somebody may put
the directory back to what it was. So its data are others whenever nobody has had it open: like those of a server that restarts.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tiered.errors import Reason, StoreUnavailable
from tiered.tiers.file_place import explain


class Token:
    """Locked from the first `read` until `close`, or until the process ends. Thread-safe."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path, self._name = directory / "cache", name
        self._mutex = Lock()  # guards the descriptor
        self._descriptor = -1

    def read(self) -> str:
        """The token; another one if nobody else has it. Raises `StoreUnavailable`."""
        try:
            with self._mutex:
                if self._descriptor < 0:
                    self._descriptor = self._locked()
                return os.pread(self._descriptor, 32, 0).decode(errors="replace")
        except OSError as error:
            message = f"cannot use {self._path}: {explain(error)}"
            raise StoreUnavailable(message, tier=self._name, reason=Reason.MISUSE) from error

    def abandon(self) -> None:
        """In a forked child, whose descriptor is its parent's (a lock goes with the last one), and where no lock may be believed."""
        self._mutex = Lock()
        self.close()

    def close(self) -> None:
        with self._mutex:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def _locked(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # others have it open, or somebody is just writing a new one
                with suppress(BlockingIOError):  # unless he died of it
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.pwrite(descriptor, uuid.uuid4().hex.encode(), 0)
            else:
                os.pwrite(descriptor, uuid.uuid4().hex.encode(), 0)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
