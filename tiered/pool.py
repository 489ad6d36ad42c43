"""The threads behind `AsyncTieredBackend`: calls of tasks that wait at the same moment are combined.

All reads that wait become one read of the tiers, all writes one commit and one put; each caller gets an answer, or an error, of its
own. One `call_soon_threadsafe` per batch and event loop brings the answers. A caller that has gone, or whose loop has, is not missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from threading import Lock
from typing import Any

from tiered.core import Core
from tiered.errors import NotApplied, Reason, StoreError, StoreUnavailable
from tiered.found import Found, Said
from tiered.lane import Lane
from tiered.tiers.base import Write
from tiered.writing import Result

MOST = 200
"""Callers who are served together."""
MOST_BYTES = 8_000_000
"""Of values in one commit of several callers."""
PATIENCE = 0.02
MOST_WAITING = 250_000_000
"""Bytes of the calls that tasks wait for at one moment: of their values, and `WEIGHT` for each."""
WEIGHT = 2_500
"""About what a call, its future and its task take."""

_FOR_ITSELF = frozenset({Reason.TOO_LARGE, Reason.FULL, Reason.MISUSE, Reason.SERIALIZATION})
"""A commit of several callers' writes that fails for one of these is tried again for each: it may be one's own fault."""


class Call:
    """What one task waits for."""

    __slots__ = ("core", "error", "future", "loop", "result", "said", "values", "what")

    def __init__(self, core: Core | None, what: Any, values: Sequence[Any] = ()) -> None:
        self.core, self.what, self.values = core, what, values
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None
        self.said: Said | None = None


class Pool:
    """Does the calls of tasks on at most a dozen threads. For tasks of any number of event loops; does not own a store."""

    def __init__(self) -> None:
        self._reads = Lane(_read, name="tiered-async-read", most=MOST, patience=PATIENCE)
        self._commits = Lane(_commit, name="tiered-async-write", most=MOST, patience=PATIENCE)
        self._calls = Lane(_run, name="tiered-async")
        self._waiting = 0
        """Of `MOST_WAITING`. Loops are in several threads: added to without a call in between, so nothing is lost."""

    def read(self, core: Core, key: str, said: Said | None = None) -> Awaitable[Found]:
        """What is below memory under `key`, which was checked; a cache tier is not asked for what it has `said`."""
        call = Call(core, key)
        call.said = said
        return self._done(self._reads, call)

    def read_many(self, core: Core, keys: list[str]) -> Awaitable[dict[str, Found]]:
        """`read` of each."""
        return self._done(self._reads, Call(core, keys))

    def commit(self, core: Core, writes: Sequence[Write], values: Sequence[Any]) -> Awaitable[list[Result]]:
        """Commit and publish `writes` of `values`, all or none."""
        alone = getattr(core.chain.record, "one_by_one", False)
        return self._done(
            self._calls if alone else self._commits, Call(core, writes, values), NotApplied, _size(writes)
        )

    async def ask(
        self,
        do: Callable[[], Any],
        undo: Callable[[Any], None] | None = None,
        *,
        refusal: type[StoreError] = StoreUnavailable,
    ) -> Any:
        """What `do()` returns on a thread. If nobody is there any more to take it, it is given to `undo`."""
        call = Call(None, do)
        if undo is None:
            return await self._done(self._calls, call, refusal)
        taken = Lock()  # by whoever comes first: the result, or the end of the wait for it
        call.what = lambda: _do_or_undo(call, do, taken, undo)
        try:
            return await self._done(self._calls, call, refusal)
        except BaseException:
            if not taken.acquire(blocking=False):
                self.later(lambda: undo(call.result))
            raise

    def certainly(self, do: Callable[[], Any]) -> Awaitable[Any]:
        """What `do()` returns on a thread. It is done also for a caller who is gone before."""
        call = Call(None, do)
        self._calls.submit(call)
        return asyncio.shield(call.future)

    def later(self, do: Callable[[], None]) -> None:
        """Have `do`, which raises nothing, done; nobody waits for it."""
        self._calls.submit(do)

    def close(self) -> None:
        """Let the threads end when they have done what waits. Idempotent."""
        for lane in (self._reads, self._commits, self._calls):
            lane.close()

    async def _done(
        self, lane: Lane[Any], call: Call, refusal: type[StoreError] = StoreUnavailable, size: int = 0
    ) -> Any:
        """What comes of `call`. It is not made if its caller goes before it was begun, and refused if too much waits."""
        size += WEIGHT
        if self._waiting + size > MOST_WAITING and self._waiting:
            message = "too many calls of tasks wait already; nothing was done"
            raise refusal(message, tier=_record_of(call), reason=Reason.BUSY)
        place = lane.submit(call, call.loop)
        self._waiting += size
        try:
            return await call.future
        except BaseException:
            lane.withdraw(place)
            raise
        finally:
            self._waiting -= size


def _record_of(call: Call) -> str:
    return "" if call.core is None else call.core.chain.record.name


def _size(writes: Sequence[Write]) -> int:
    return sum([len(write.draft.payload) for write in writes])


def _do_or_undo(call: Call, do: Callable[[], Any], taken: Lock, undo: Callable[[Any], None]) -> Any:
    call.result = do()  # before it is taken: from there on the caller may be gone, and have it undone
    if not taken.acquire(blocking=False):
        undo(call.result)
    return call.result


# What the lanes do; nothing may be raised here.


def _read(calls: list[Call]) -> None:
    for core, group in _by_core(calls):
        try:
            keys = dict.fromkeys(
                key for call in group for key in ([call.what] if type(call.what) is str else call.what)
            )
            found = core.read_together(keys, {call.what: call.said for call in group if call.said is not None})
        except BaseException as error:
            _fail(group, error)
        else:
            for call in group:
                _answer(call, found)
        _deliver(group)


def _answer(call: Call, found: dict[str, Found | Exception]) -> None:
    if type(call.what) is str:
        it = found[call.what]
        if isinstance(it, Exception):
            _fail([call], it)
        else:
            call.result = it
        return
    call.result = {key: found[key] for key in call.what}
    for it in call.result.values():
        if isinstance(it, Exception):
            _fail([call], it)
            return


def _commit(calls: list[Call]) -> None:
    for core, group in _by_core(calls):
        for part in _parts(group):
            _commit_part(core, part)
            _deliver(part)


def _commit_part(core: Core, calls: list[Call]) -> None:
    try:
        results = core.commit(
            [write for call in calls for write in call.what], [value for call in calls for value in call.values]
        )
    except BaseException as error:
        if len(calls) > 1 and isinstance(error, NotApplied) and error.reason in _FOR_ITSELF:
            for call in calls:
                _commit_part(core, [call])
        else:
            _fail(calls, error)
    else:
        start = 0
        for call in calls:
            end = start + len(call.what)
            call.result = results[start:end]
            start = end


def _parts(calls: list[Call]) -> Iterator[list[Call]]:
    """Runs of calls whose values have at most `MOST_BYTES` together."""
    part, size = list[Call](), 0
    for call in calls:
        more = _size(call.what)
        if part and size + more > MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(call)
        size += more
    yield part


def _run(calls: list[Any]) -> None:
    for call in calls:
        if not isinstance(call, Call):
            call()
        elif call.core is not None:
            _commit_part(call.core, [call])
            _deliver([call])
        else:
            try:
                call.result = call.what()
            except BaseException as error:
                _fail([call], error)
            _deliver([call])


def _by_core(calls: list[Call]) -> list[tuple[Core, list[Call]]]:
    groups: dict[int, tuple[Core, list[Call]]] = {}
    for call in calls:
        assert call.core is not None
        groups.setdefault(id(call.core), (call.core, []))[1].append(call)
    return list(groups.values())


def _fail(calls: Sequence[Call], error: BaseException) -> None:
    """Each gets an error of its own: a traceback belongs to one task."""
    if isinstance(error, StopIteration):  # what no future can hold
        error = RuntimeError("StopIteration was raised")
    for call in calls:
        call.error = error
        if isinstance(error, StoreError):
            call.error = copy(error).with_traceback(error.__traceback__)
            call.error.__cause__ = error.__cause__


def _deliver(calls: list[Call]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[Call]] = {}
    for call in calls:
        loops.setdefault(call.loop, []).append(call)
    for loop, group in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, group)
        except RuntimeError:
            continue  # it was closed, and its tasks are gone


def _settle(calls: list[Call]) -> None:
    """In the loop of `calls`."""
    for call in calls:
        future = call.future
        if future.done():  # cancelled
            continue
        if call.error is None:
            future.set_result(call.result)
        else:
            future.set_exception(call.error)
