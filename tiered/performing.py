"""The steps of an operation, done by a task (steps.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import wait
from contextvars import copy_context
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeVar
from weakref import ref

from tiered.core import Core
from tiered.loading import LoopEnded
from tiered.pool import Pool
from tiered.results import Lookup
from tiered.steps import Ask, Commit, Compute, Look, Pause, Produce, Read, Refresh, Step, Steps, Wait
from tiered.writing import Result

_Result = TypeVar("_Result")


class Performer:
    """Does steps in the task that asks for it; `look` and `write` are `lookup` and `Core.write` for tasks."""

    def __init__(
        self,
        pool: Pool,
        core: Core,
        look: Callable[[str], Awaitable[Lookup]],
        write: Callable[..., Awaitable[Result]],
    ) -> None:
        self._pool, self._core, self._look, self._write = pool, core, look, write

    async def perform(self, steps: Steps[_Result]) -> _Result:
        """The operation's result. If the task is cancelled, it is given up; a step that is under way on a thread ends there."""
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._do(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            finished: _Result = end.value
            return finished
        finally:
            steps.close()

    async def _do(self, step: Step) -> Any:
        match step:
            case Read():
                return await self._pool.read(self._core, step.key)
            case Commit():
                return await self._write(step.write, step.value, op=step.op)
            case Ask():
                return await self._pool.ask(step.call, step.undo)
            case Look():
                return await self._look(step.key)
            case Compute():
                return await _result_of(step.call())
            case Produce():
                return await (step.call() if iscoroutinefunction(step.call) else _on_a_thread(step.call))
            case Wait():
                return await _called_back(step)
            case Pause():
                return await asyncio.sleep(step.seconds)
            case Refresh():
                return step.start(_for_a_thread(step.loader))


async def _result_of(value: Any) -> Any:
    return await value if isawaitable(value) else value


async def _on_a_thread(call: Callable[[], Any]) -> Any:
    """Of the loop's own executor, in the task's context; what is to be awaited is awaited here."""
    return await _result_of(await asyncio.to_thread(call))


async def _called_back(step: Wait) -> bool:
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    # The time limit keeps this task for as long as its loop lives; whoever is to tell must not keep it for longer.
    future = ref(over)

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(_finish, future)
        except RuntimeError:
            return  # the loop was closed, and its tasks are gone

    step.listen(tell)
    try:
        async with asyncio.timeout(step.seconds):
            await over
    except TimeoutError:
        return False
    return True


def _finish(refer: ref[asyncio.Future[None]]) -> None:
    future = refer()
    if future is not None and not future.done():
        future.set_result(None)


def _for_a_thread(loader: Callable[[], Any]) -> Callable[[], Any]:
    """`loader` for a thread in the background: with this task's context, and if it is async in this task's loop."""
    loop, context = asyncio.get_running_loop(), copy_context()

    def load() -> Any:
        value = context.run(loader)
        if not isawaitable(value):
            return value
        coroutine = _result_of(value)
        try:
            future = context.run(partial(asyncio.run_coroutine_threadsafe, coroutine, loop))
        except RuntimeError as error:
            coroutine.close()
            if hasattr(value, "close"):
                value.close()
            raise LoopEnded(str(error)) from error
        while not future.done() and not loop.is_closed():
            wait([future], timeout=1.0)
        if not future.done() or future.cancelled():
            raise LoopEnded("the event loop ended before the loader did")
        return future.result()

    return load
