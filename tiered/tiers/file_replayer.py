"""The one process that replays to a cache tier, among those that share a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def replaying(directory: Path, tier: str) -> Iterator[bool]:
    """Try to become it; False if another is. Freed when the process dies.

    True, too, where the system gives no lock (no descriptors, no space): two that replay cost time, none costs the tier.
    """
    name = hashlib.sha256(tier.encode()).hexdigest()[:16]  # a tier may be called anything
    lock = FileLock(directory / f"replay-{name}.lock", timeout=0, mode=0o600, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()
