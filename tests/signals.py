"""Signals whose handler returns, as of a profiler or a watchdog: what they interrupt goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tests.waiting import started

EVERY = 0.01
MOST = 500
"""Signals that whatever waits for less than a second cannot outlast."""


@contextmanager
def ticking(every: float = EVERY, most: int = MOST) -> Iterator[None]:
    """Around what the main thread does: a signal every so many seconds; fails after `most` of them."""
    count = 0

    def tick(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise AssertionError("it goes on waiting as long as signals come")

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, every, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kept_ticking(work: Callable[[], Any], give_up: Callable[[], object]) -> Future[Any]:
    """`work`, done on a thread that gets the signals; `give_up` is called if it does not end."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    idents: list[int] = []

    def on_thread() -> Any:
        idents.append(threading.get_ident())
        return work()

    done, count = started(on_thread), 0
    while not done.done():
        if idents:
            signal.pthread_kill(idents[0], signal.SIGUSR1)
        count += 1
        if count > MOST:
            give_up()
        time.sleep(EVERY)
    signal.signal(signal.SIGUSR1, before)
    return done
