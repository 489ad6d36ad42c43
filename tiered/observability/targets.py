"""Target files for Prometheus' file_sd: each process of a bot writes where its metrics are.

A file is locked for as long as its process lives, so that what a killed process left behind can be told from what
another one needs, whatever process ids mean where they run. Prometheus reads whole files only: they are renamed into place.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from tiered.errors import ConfigError

PREFIX = "tiered-"


class TargetFile:
    """The file of this process in `directory`, which is made if it is missing. `write` it once."""

    def __init__(self, directory: Path) -> None:
        self._path: Path | None = None
        self._descriptor: int | None = None
        self.directory = directory
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise ConfigError(f"targets={directory} cannot be used: {error.strerror}") from error

    def write(self, addr: str, port: int, scheme: str) -> None:
        host = f"[{addr}]" if ":" in addr else addr
        groups = [{"targets": [f"{host}:{port}"], "labels": {"__scheme__": scheme, "pid": str(os.getpid())}}]
        part = self.directory / f".{PREFIX}{os.getpid()}-{port}.part"
        try:
            self._descriptor = os.open(
                part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
            )
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before anybody can see it without
            os.write(self._descriptor, json.dumps(groups).encode())
            self._path = self.directory / f"{PREFIX}{os.getpid()}-{port}.json"
            os.replace(part, self._path)
        except OSError as error:
            self._path = None
            self.disown()
            with suppress(OSError):  # on a read-only file system even what is not there cannot be removed
                part.unlink()
            raise ConfigError(f"targets={self.directory} cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """The process stops serving. Idempotent."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self.disown()

    def disown(self) -> None:
        """In a child after a fork: the file and its lock are the parent's."""
        self._path = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _sweep(self) -> None:
        """Remove the files of processes that are gone."""
        for path in self.directory.glob(f"{PREFIX}*.json"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:  # gone by now, or not ours to read
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:  # its process lives
                continue
            finally:
                os.close(descriptor)
