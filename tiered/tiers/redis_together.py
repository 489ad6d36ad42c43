"""Commands of threads that wait for the same server at the same moment, in one round trip."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import redis
from redis.exceptions import ReadOnlyError

from tiered.handlers import raised_by_handler
from tiered.tiers.combine import Combiner, Impatient, Job
from tiered.tiers.redis_errors import store_error
from tiered.tiers.redis_wire import Wire

PATIENCE = 0.005
"""Seconds after which a command does not wait for others any more: the one before it may be slow, or the server hang."""
SMALL = 16_384
"""Bytes of a command that may go together with others."""


class Command(NamedTuple):
    """A packed command."""

    packed: bytes
    write: bool


class Together:
    """One conversation at a time; what arrives during one is sent with the next. Thread-safe.

    `take` gives a connection that may be believed, `give` takes it back, `fail` ends it after an error.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[bool], Wire],
        give: Callable[[Wire], None],
        fail: Callable[[Wire, BaseException, bool], BaseException],
    ) -> None:
        self._name, self._take, self._give, self._fail = name, take, give, fail
        self._combiner = Combiner(self._converse, name, patience=PATIENCE)

    def ask(self, packed: bytes, write: bool) -> object:
        """The reply; raises its error, or `Impatient` if nothing was sent and the caller had better go alone."""
        return self._combiner.submit(Command(packed, write))

    # Private

    def _converse(self, batch: list[Job]) -> None:
        try:
            wire = self._take(batch[0].work.write)
        except BaseException as error:
            for job in batch:
                job.error = Impatient()  # each finds out for itself, and at the same time
            if isinstance(error, Exception) and raised_by_handler(error) is None:
                return
            raise
        try:
            replies = wire.ask_many([job.work.packed for job in batch])
        except BaseException as error:
            failed = isinstance(error, (redis.RedisError, OSError)) and raised_by_handler(error) is None
            for job in batch:
                self._failed(job, error if failed else redis.ConnectionError("interrupted"))
            self._fail(wire, error, False)
            if not failed:
                raise
            return
        self._settle(wire, batch, replies)

    def _settle(self, wire: Wire, batch: list[Job], replies: list[object]) -> None:
        demoted: Exception | None = None
        for job, reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                self._failed(job, reply)
                demoted = reply if isinstance(reply, ReadOnlyError) else demoted
            else:
                job.result, job.settled = reply, True
        if demoted is None:
            self._give(wire)
        else:
            self._fail(wire, demoted, False)

    def _failed(self, job: Job, error: BaseException) -> None:
        job.error, job.settled = store_error(error, self._name, write=job.work.write, sent=True), True
        job.error.__cause__ = error
