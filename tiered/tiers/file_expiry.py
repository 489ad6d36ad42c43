"""Background expiry of a file tier: a thread that removes what has expired or was cleared, in small steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

from tiered.errors import StoreError

logger = logging.getLogger(__name__)

PAUSE = 1.0
BREATH = 0.01


class Expiry:
    """Calls `step` every `PAUSE` seconds, and again after a `BREATH` for as long as it finds something. Thread-safe."""

    def __init__(self, step: Callable[[], int], name: str) -> None:
        self._step = step
        self._name = name
        self._thread: Thread | None = None
        self._told = False
        self._stop = Event()
        self._lock = Lock()  # guards the start of the thread

    def start(self) -> None:
        """Costs nothing when it has started; when the system has no thread to give, a later call tries again."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stop.is_set():
                    thread = Thread(target=self._run, name=f"tiered-{self._name}-expiry", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError as error:  # what has expired stays on disk, unread, for a while longer
                        if not self._told:
                            logger.warning("%s: background expiry waits for a thread: %s", self._name, error)
                        self._told = True
                    else:
                        self._thread = thread

    def stop(self) -> None:
        """Wait for the thread to end, and let none start."""
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            with suppress(StoreError):  # writers meet the same error and report it
                while self._step() and not self._stop.wait(BREATH):
                    continue
