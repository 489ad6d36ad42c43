"""Leases among the processes of one host: locks on a bounded number of files, which the system frees when a holder dies.

A file is the lease of every key whose hash begins with its name, so its holder signs it with the whole hash. Whoever
finds it locked for another key does without a lease: to wait would be to wait for something that is not under way, and
two loaders that need each other's files would never end.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout

from tiered.errors import Reason, StoreUnavailable
from tiered.handlers import pass_on
from tiered.tiers.file_place import explain

FILES = 256
SIGNATURE = 16


class FileLeases:
    """The leases of one directory. Thread-safe. A lease ends when its holder releases it or dies, and not before."""

    expires = False

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory / "leases", name
        self._held: dict[str, tuple[FileLock, int]] = {}

    def take(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        signature = blake2b(f"{namespace}\0{key}".encode(), digest_size=SIGNATURE).digest()
        path = self._directory / f"{signature[0] % FILES:02x}"
        try:
            self._make_directory()
            return self._lock(path, signature, token)
        except OSError as error:
            pass_on(error)
            raise StoreUnavailable(f"cannot lock {path}: {explain(error)}", tier=self._name) from error

    def extend(self, namespace: str, key: str, token: str, ttl: float) -> bool:
        return token in self._held

    def release(self, namespace: str, key: str, token: str) -> None:
        held = self._held.pop(token, None)
        if held is None:
            return
        lock, descriptor = held
        try:
            try:
                os.ftruncate(descriptor, 0)  # while it is locked: the next holder must not pass for one of this key
            finally:
                lock.release()
        except OSError as error:
            pass_on(error)
            raise StoreUnavailable(f"cannot unlock {lock.lock_file}: {explain(error)}", tier=self._name) from error

    def _lock(self, path: Path, signature: bytes, token: str) -> bool:
        descriptors: list[int] = []

        def sign(descriptor: int) -> None:
            os.pwrite(descriptor, signature, 0)
            descriptors.append(descriptor)

        # One object per lease, never shared, so that a second thread is kept out like another process, and the lease
        # may be released by another thread than the one that took it.
        lock = FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False, on_acquired=sign)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return self._busy(path, signature)
        self._held[token] = lock, descriptors[0]
        return True

    def _busy(self, path: Path, signature: bytes) -> bool:
        """False; raises if the file is locked for another key."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            signed = os.read(descriptor, SIGNATURE)
        finally:
            os.close(descriptor)
        if len(signed) == SIGNATURE and signed != signature:
            message = "another key is being loaded under the lock file of this one"
            raise StoreUnavailable(message, tier=self._name, reason=Reason.BUSY)
        return False

    def _make_directory(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if self._directory.is_symlink():
            message = f"{self._directory} is a symbolic link, which could lead anywhere; remove it"
            raise StoreUnavailable(message, tier=self._name, reason=Reason.MISUSE)
