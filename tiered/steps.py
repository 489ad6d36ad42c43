"""What an operation needs done, step by step, so that its text is written once for threads and for asyncio tasks.

An operation is a generator: it yields a step, is sent what came of it (or thrown its error), and returns its result. A
thread does each step where it is, by `call` (`drive`); a task awaits it (`performing.py`). An operation may be given
up at any step: what must happen then stands in a `finally` that yields nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import CoroutineType
from typing import Any, NamedTuple, TypeVar

from tiered.errors import InvalidValue
from tiered.tiers.base import Write

_Result = TypeVar("_Result")


class Ask(NamedTuple):
    """Tiers are to be asked for something."""

    call: Callable[[], Any]
    undo: Callable[[Any], None] | None = None
    """For a result that comes when nobody waits for it any more."""


class Read(NamedTuple):
    """What the fastest tier below memory says of `key`."""

    call: Callable[[], Any]
    key: str


class Commit(NamedTuple):
    """`write` of `value` is to be committed and published."""

    call: Callable[[], Any]
    write: Write
    value: Any
    op: str = "set"
    """What it counts as."""


class Look(NamedTuple):
    """A `lookup` of `key`, memory included."""

    call: Callable[[], Any]
    key: str


class Compute(NamedTuple):
    """The caller's function for one value, which is quick."""

    call: Callable[[], Any]


class Produce(NamedTuple):
    """The caller's loader is to run, which takes its time."""

    call: Callable[[], Any]


class Wait(NamedTuple):
    """Wait up to `seconds` until `listen` calls back; whether it did."""

    call: Callable[[], bool]
    seconds: float
    listen: Callable[[Callable[[], None]], None]


class Pause(NamedTuple):
    """Let `seconds` pass."""

    call: Callable[[], None]
    seconds: float


class Refresh(NamedTuple):
    """Have `loader` run later, in the background, by whatever `start` does with it."""

    call: Callable[[], None]
    start: Callable[[Callable[[], Any]], None]
    loader: Callable[[], Any]


Step = Ask | Read | Commit | Look | Compute | Produce | Wait | Pause | Refresh
Steps = Generator[Step, Any, _Result]


def drive(steps: Steps[_Result]) -> _Result:
    """Do the steps of an operation in this thread; its result, or its error."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.call()
                if type(result) is CoroutineType:
                    result.close()
                    raise InvalidValue(
                        "the function is async; await it in AsyncTieredBackend, or in one that is `over` this store"
                    )
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        finished: _Result = end.value
        return finished
    finally:
        steps.close()  # an interrupt may have come between two steps
