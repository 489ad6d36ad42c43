"""Waiting for a condition, with a generous limit, and threads whose errors are seen."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

LIMIT = float(os.environ.get("TIERED_TEST_LIMIT", "60"))


def eventually(true: Callable[[], object], what: str = "it") -> None:
    """Returns as soon as `true()` is; fails after `LIMIT` seconds."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come to pass"
        time.sleep(0.005)


def started(work: Callable[[], Any]) -> Future[Any]:
    """`work` on a thread of its own; `result(LIMIT)` is what it returned or raised, interrupts included."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
