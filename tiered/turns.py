"""Reads of tasks on no thread: those that begin in one turn of a loop are one question to the first cache tier."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import Sequence
from itertools import zip_longest

from tiered.chain import Space
from tiered.found import Near
from tiered.reading import Reader
from tiered.tiers.base import Later

MOST = 64
"""Keys in a question: the server works on it while the next ones come."""


class Turns:
    """Reads of one namespace for the tasks of any number of loops, each on a thread of its own."""

    def __init__(self, reader: Reader, space: Space, later: Later) -> None:
        self._reader, self._space, self._later = reader, space, later
        self._turn: _Turn | None = None  # of the loop that read last

    def read(self, key: str) -> Future[Near] | None:
        """`Reader.read_awaited` of `key`, which was checked, in the running loop; None if no tier can be asked so."""
        loop, turn = get_running_loop(), self._turn
        if turn is None or turn.loop is not loop:
            if not self._reader.may_await():
                return None
            turn = self._turn = _Turn(self, loop)
        return turn.add(key)

    def ask(self, turn: _Turn) -> None:
        """Once for each turn, at its end or when it is full."""
        if self._turn is turn:
            self._turn = None
        asked = False
        try:
            asked = self._reader.read_awaited(self._space, turn.keys, self._later, turn.tell)
        finally:  # also after a signal's exception: nobody may be left waiting
            if not asked:
                turn.tell(())


class _Turn:
    """For its own loop only."""

    def __init__(self, turns: Turns, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.keys: list[str] = []
        self._turns, self._futures = turns, list[Future[Near]]()
        self._end = loop.call_soon(turns.ask, self)

    def add(self, key: str) -> Future[Near]:
        future: Future[Near] = self.loop.create_future()
        self.keys.append(key)
        self._futures.append(future)
        if len(self.keys) == MOST:
            self._end.cancel()
            self._turns.ask(self)
        return future

    def tell(self, answers: Sequence[Near]) -> None:
        """None for each that has no answer. May be repeated."""
        for future, answer in zip_longest(self._futures, answers):
            if not future.done():  # its task was not cancelled
                future.set_result(answer)
