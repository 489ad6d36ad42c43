"""What a signal handler raises in the middle of a call is for the caller, whatever its type is: no tier has failed.

Programs that give themselves a time limit raise any `Exception` from their handler, most often `TimeoutError`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import get_ident, main_thread
from types import FrameType

_VARARGS = 0x04


def pass_on(error: BaseException) -> None:
    """For an `except` clause that makes something else of `error`: raise what a handler raised, if `error` is that or came of it."""
    if (raised := raised_by_handler(error)) is not None:
        try:
            raise raised
        finally:
            del error, raised  # it has this frame: a circle would keep what its frames have until it is collected


def raised_by_handler(error: BaseException) -> BaseException | None:
    """`error`, or what it came of, if a handler has raised that; for an `except` clause.

    Handlers run in the main thread only. What another one is given may have come of what the main thread was handling: an error
    that several wait for has the context of whoever raised it.
    """
    if get_ident() != main_thread().ident:
        return None
    running = frozenset(map(id, _stack(sys._getframe(1))))
    for it in _origins(error):
        trace = it.__traceback__
        if it is not error and trace is not None and id(trace.tb_frame) in running:
            return None  # a caller is handling that, and was before
        if _is_of_a_handler(it):
            return it
    return None


def _is_of_a_handler(error: BaseException) -> bool:
    """Whether it was raised by a function that was called with the frame of its caller, as handlers are, and trace functions."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        caller, trace = trace.tb_frame, trace.tb_next
        if any(argument is caller for argument in _arguments(trace.tb_frame)):
            return True
    return False


def _arguments(frame: FrameType) -> Iterator[object]:
    code = frame.f_code
    values = frame.f_locals
    for name in code.co_varnames[: code.co_argcount]:
        yield values.get(name)
    if code.co_flags & _VARARGS:
        yield from values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())


def _origins(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it came of."""
    seen, it = set[int](), error
    while it is not None and id(it) not in seen:
        yield it
        seen.add(id(it))
        it = it.__cause__ or it.__context__  # type: ignore[assignment]


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
