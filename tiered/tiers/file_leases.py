"""Leases among the processes of one host: locks on a bounded number of files, which the system frees when a holder dies.

A file is the lease of every key whose hash begins with its name, so its holder signs it with the whole hash. Whoever
finds it locked for another key does without a lease: to wait would be to wait for something that is not under way, and
two loaders that need each other's files would never end.

Not by filelock: here it is users' threads that lock, whose signal handlers may raise at any moment. What they raise in a
finalizer, as its lock objects have, or inside pathlib, which takes every OSError for its own, is lost; and a lock whose
object an exception keeps is never free.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections import deque
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from tiered.errors import Reason, StoreUnavailable
from tiered.handlers import pass_on
from tiered.tiers.file_place import explain

FILES = 256
SIGNATURE = 16

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class FileLeases:
    """The leases of one directory. Thread-safe. A lease ends when its holder releases it or dies, and not before."""

    expires = False

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = f"{directory}/leases", name
        self._held: dict[str, int] = {}
        """The descriptors of files that are locked, by token."""

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        signature = blake2b(f"{namespace}\0{key}".encode(), digest_size=SIGNATURE).digest()
        path = f"{self._directory}/{signature[0] % FILES:02x}"
        try:
            self._make_directory()
            return self._lock(path, signature, token)
        except OSError as error:
            pass_on(error)
            raise StoreUnavailable(f"cannot lock {path}: {explain(error)}", tier=self._name) from error

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        return token in self._held

    def release(self, namespace: str, key: str, token: str) -> None:
        """May be repeated after an interrupt."""
        descriptor = self._held.get(token)
        if descriptor is None:
            return
        try:
            try:
                os.ftruncate(descriptor, 0)  # while it is locked: the next holder must not pass for one of this key
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: a forked child may have it open, too
                deque(
                    map(os.close, map(self._held.pop, (token,))), maxlen=0
                )  # in one call, so that none is closed twice
        except OSError as error:
            pass_on(error)
            raise StoreUnavailable(
                f"cannot unlock a file in {self._directory}: {explain(error)}", tier=self._name
            ) from error

    def abandon(self) -> None:
        """After a fork, in the child: they are the parent's."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _lock(self, path: str, signature: bytes, token: str) -> bool:
        opened = deque[int]()
        try:
            opened.extend(map(os.open, (path,), (_FLAGS,), (0o600,)))  # in one call, so that no handler runs in between
            descriptor = opened[0]
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                pass_on(error)
                return self._busy(descriptor, signature)
            os.pwrite(descriptor, signature, 0)
            self._held[token] = descriptor
            return True
        finally:
            if opened and token not in self._held:
                os.close(opened.pop())

    def _busy(self, descriptor: int, signature: bytes) -> bool:
        """False; raises if the file is locked for another key."""
        signed = os.pread(descriptor, SIGNATURE, 0)
        if len(signed) == SIGNATURE and signed != signature:
            message = "another key is being loaded under the lock file of this one"
            raise StoreUnavailable(message, tier=self._name, reason=Reason.BUSY)
        return False

    def _make_directory(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        if stat.S_ISLNK(os.lstat(self._directory).st_mode):
            message = f"{self._directory} is a symbolic link, which could lead anywhere; remove it"
            raise StoreUnavailable(message, tier=self._name, reason=Reason.MISUSE)
