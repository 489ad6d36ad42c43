"""Running coroutines in event loops of both kinds, and holding what threads do below them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from tests.waiting import LIMIT

_Result = TypeVar("_Result")
FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Loop:
    """Runs a coroutine in a new event loop and closes that; within the generous limit."""

    def __init__(self, kind: str = "asyncio") -> None:
        self.factory = FACTORIES[kind]

    def __call__(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        with asyncio.Runner(loop_factory=self.factory) as runner:
            return runner.run(asyncio.wait_for(work, LIMIT))


class Gate:
    """A function that waits to be let through, on its thread; `reached` counts those who have come, `calls` their arguments."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self._inner, self._open = inner, threading.Event()
        self.calls: list[tuple[Any, ...]] = []
        self.finished = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls.append(args)
        assert self._open.wait(LIMIT)
        result = self._inner(*args, **options)
        self.finished += 1
        return result

    @property
    def reached(self) -> int:
        return len(self.calls)

    def open(self) -> None:
        self._open.set()


async def until(true: Callable[[], object], what: str = "it") -> None:
    """Returns as soon as `true()` is; fails after the limit."""
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.002)
