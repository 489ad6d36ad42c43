"""How long after an outage all tiers of tiered are equal again, with verify() as the judge."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outage.load import THREADS, text
from benchmarks.outage.tiered_stack import Stack
from tests.servers import RedisServer

GIVE_UP = 60.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds from the return of Redis to the end of the first verify() that finds nothing wrong and nothing behind."""

    writes: int
    seconds: float
    verify_seconds: float
    """Of these, what that last verify() took itself."""
    converged: bool


def recover(writes: int, tell: Callable[[str], None]) -> Recovery:
    """Write each of `writes` keys once while Redis holds an older value of it and hangs, then let it go on."""
    server = RedisServer()
    try:
        with tempfile.TemporaryDirectory(prefix="tiered-outage-") as directory:
            stack = Stack(server.url, Path(directory))
            try:
                return _recover(stack, server, [f"missed:{n}" for n in range(writes)], tell)
            finally:
                stack.close()
    finally:
        server.stop()


def _recover(stack: Stack, server: RedisServer, keys: list[str], tell: Callable[[str], None]) -> Recovery:
    stack.fill({key: text(1) for key in keys})
    server.freeze()
    tell(f"{len(keys):,} writes that Redis misses")
    _write(stack, keys)
    server.thaw()
    back = time.perf_counter()
    tell("Redis is back; verify until all are equal")
    while True:
        start = time.perf_counter()
        equal = stack.backend.verify().converged
        end = time.perf_counter()
        if equal or end - back > GIVE_UP:
            return Recovery(len(keys), end - back, end - start, equal)


def _write(stack: Stack, keys: list[str]) -> None:
    """By four threads, each with its share of the keys."""
    done: list[int] = []

    def work(share: list[str]) -> None:
        for key in share:
            stack.set(key, text(2))
        done.append(len(share))

    threads = [threading.Thread(target=work, args=(keys[n::THREADS],)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sum(done) != len(keys):
        raise RuntimeError("a set failed while Redis was hung; its traceback is above")
