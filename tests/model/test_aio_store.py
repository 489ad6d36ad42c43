"""The same model as `test_store.py`, with every call made by a task, in a loop that stands still between calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from inspect import iscoroutinefunction
from typing import Any

from hypothesis import settings

from tests.model.test_store import Store
from tiered import AsyncTieredBackend


class Blocking:
    """An `AsyncTieredBackend` for callers who wait."""

    def __init__(self, store: AsyncTieredBackend, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop, self._core = store, loop, store._core

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if iscoroutinefunction(method):
            return lambda *args: self._loop.run_until_complete(method(*args))
        return lambda *args: iter(self._loop.run_until_complete(_all(method(*args))))


async def _all(iterator: AsyncIterator[Any]) -> list[Any]:
    return [it async for it in iterator]


class AsyncStore(Store):
    def open(self) -> None:
        super().open()
        self.loop: asyncio.AbstractEventLoop = getattr(self, "loop", None) or asyncio.new_event_loop()
        self.store: Any = Blocking(AsyncTieredBackend.over(self.store), self.loop)

    def teardown(self) -> None:
        super().teardown()
        self.loop.close()


TestAsyncStore = AsyncStore.TestCase
TestAsyncStore.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
