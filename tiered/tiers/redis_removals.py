"""What clears have made invisible in a record in Redis, removed beside them: on one thread, while there is some."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock, Thread

from tiered.entry import MAGIC
from tiered.tiers.redis_link import Link
from tiered.tiers.redis_wire import literal

logger = logging.getLogger(__name__)


class Removals:
    """Has `remove`, which raises nothing, go through the namespaces that were cleared, one at a time. Thread-safe.

    A namespace that is cleared again before its turn waits once. After a fork the child needs another one.
    """

    def __init__(self, remove: Callable[[str], None], name: str) -> None:
        self._remove, self._name = remove, name
        self._waiting: dict[str, None] = {}  # in their order
        self._thread: Thread | None = None
        self._lock = Lock()  # guards the two, and starting the thread

    def add(self, namespace: str) -> None:
        """Have it looked through; if the process may have no more threads, with the next one."""
        with self._lock:
            self._waiting[namespace] = None
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = Thread(target=self._work, name=f"tiered-{self._name}-clear", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                logger.warning("%s: what was cleared goes on using memory until the next clear: %s", self._name, error)

    def finish(self, patience: float) -> None:
        """The tier is about to be closed: wait so many seconds for what was cleared, since nobody may ever clear it again."""
        thread = self._thread
        if thread is not None:
            thread.join(patience)
            if thread.is_alive():
                logger.warning(
                    "%s: closed while what was cleared is removed; the rest uses memory until the next clear",
                    self._name,
                )

    # Private

    def _work(self) -> None:
        while (namespace := self._next()) is not None:
            self._remove(namespace)

    def _next(self) -> str | None:
        with self._lock:
            if not self._waiting:
                self._thread = None
                return None
            namespace = next(iter(self._waiting))
            del self._waiting[namespace]
            return namespace


def remove_older(link: Link, start: str, generation: int) -> None:
    """Unlink, in small steps, what names `start`, a generation before `generation`, a colon and a key. Raises `StoreError`."""
    head = start.encode()
    for names in link.names(literal(start) + "*"):
        older: dict[bytes, list[bytes]] = {}
        for name in names:
            digits, colon, _ = name[len(head) :].partition(b":")
            if colon and digits.isdigit() and len(digits) < 20 and int(digits) < generation:
                older.setdefault(head + digits, []).append(name)
        for space, old in older.items():
            if not _is_anothers(link, space):
                link.call("UNLINK", *old, write=True)


def _is_anothers(link: Link, space: bytes) -> bool:
    """Whether what looks like a generation is a namespace of a store whose prefix is longer: it keeps more than frames there."""
    kept = link.call("MGET", space + b":versions", space + b":store")
    return any(it is not None and not it.startswith(MAGIC) for it in kept)
