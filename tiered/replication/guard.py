"""Around each remote cache tier: the one place where its failures stop being errors.

A guard asks its tier only while the breaker is closed and the key is not owed, counts what happens, and turns every
failure into `UNANSWERED` or a debt. Nothing a cache tier does can fail a caller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from tiered.clock import SYSTEM_CLOCK, Clock
from tiered.entry import MAX_VERSION, version_of
from tiered.errors import Reason, StoreError, without_tier
from tiered.handlers import pass_on
from tiered.observability.events import transition
from tiered.observability.stats import CACHE_OPS, OTHER, TierStats
from tiered.replication.breaker import Breaker
from tiered.replication.owed import Owed
from tiered.replication.refusals import Refusals
from tiered.tiers.base import CacheTier, Enumerable, Later

if TYPE_CHECKING:
    from asyncio import Future

logger = logging.getLogger(__name__)


class _Unanswered:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


UNANSWERED: Final = _Unanswered("UNANSWERED")
"""Not a miss: the tier failed, or was not asked."""
OWED: Final = _Unanswered("OWED")
"""The same: the tier was not asked, because the key was owed."""

LARGE = 100_000
"""Bytes of a frame above which a put may fail for its size: of its time, of the server's memory, of a limit."""

Answer = bytes | None | _Unanswered
_Result = TypeVar("_Result")


class Keyspace(Protocol):
    """Where a namespace's keys are in a cache tier."""

    name: str
    scope: str
    """Namespace and generation; it changes when another generation is learnt."""


class Guard:
    """A remote cache tier with its breaker, its debts and its counters. Thread-safe; raises nothing of the tier's."""

    def __init__(self, tier: CacheTier, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.tier = tier
        self.name = tier.name
        self.breaker = Breaker(clock=clock)
        self._now = clock.monotonic
        self._asked: Callable[[str, str, Later], Future[bytes | None] | None] | None = getattr(tier, "asked", None)
        self.owed = Owed(now=self._now)
        self.refusals = Refusals(self.owed, now=self._now)
        self.stats = TierStats.of(CACHE_OPS)
        self._get_took = self.stats.durations["get"].observe
        self.identity: str | None = None
        """Of the data that this process believes in; None before the tier was met."""
        self.belief = 0
        """Counts the times that another identity may have come to be believed: an answer to an older one is none."""
        self.passed_at = -inf
        """When a read last passed the tier by because the record is faster (monotonic seconds)."""
        self._told: set[Reason] = set()
        self.refused = ""
        """Why the tier stays out of service for good, if it does."""
        self.why = ""
        """Why it is out of service, or why it was the last time."""
        self.denied = ""
        """Why it took nothing of what it is owed when it was last given that, though it answers: no permission, say."""

    def get(self, space: Keyspace, key: str) -> Answer:
        """The frame under `key`, None for a miss, `UNANSWERED`, or `OWED`."""
        belief = self.belief  # before the scope: a command built for another run must not be believed (R15)
        if not self.breaker.closed or (self.owed and (space.name, key) in self.owed):
            self.stats.skipped += 1
            return OWED if self.breaker.closed else UNANSWERED
        began = self._now()
        try:
            frame = self.tier.get(space.scope, key)
        except Exception as error:
            pass_on(error)
            self.failed("get", error, self._now() - began, reads=1)
            return UNANSWERED
        return self.got(frame, began, belief)

    def ask(self, space: Keyspace, key: str, later: Later) -> Future[bytes | None] | None:
        """`get` for a task, on no thread; None if that is not possible now.

        What is awaited goes to `got`, with the belief of before, or to `not_got`.
        """
        if self._asked is None or not self.breaker.closed or (self.owed and (space.name, key) in self.owed):
            return None
        return self._asked(space.scope, key, later)

    def got(self, frame: bytes | None, began: float, belief: int) -> Answer:
        """What the tier has answered to whoever began to ask it then, believing this (R15)."""
        self.breaker.success()  # as `_went_well`, two calls less
        self._get_took(self._now() - began)
        if frame is not None:
            count = len(frame)
            self.stats.read_bytes += count
        return frame if self.belief == belief else UNANSWERED

    def not_got(self, error: Exception, began: float) -> _Unanswered | None:
        """What the `error` of `ask` says of the tier; None: nothing, so that it is to be asked on a thread."""
        if isinstance(error, StoreError) and error.reason is Reason.CONNECTION:
            # One connection, and all who wait there: that says little of the tier. Asking it by a thread will.
            self.stats.failed("get", error.reason, self._now() - began)
            return None
        self.failed("get", error, self._now() - began, reads=1)
        return UNANSWERED

    def get_paid(self, space: Keyspace, keys: Sequence[str]) -> list[Answer]:
        """`get_many`, and of an owed key what is not older than what is owed: the tier may have it by now."""
        answers = self.get_many(space, keys, owed=())
        for i, key in enumerate(keys):
            answer, least = answers[i], self.owed.least((space.name, key))  # now: a debt made meanwhile counts
            held = version_of(answer) if isinstance(answer, bytes) else 0
            if held < least or least == MAX_VERSION:
                answers[i] = UNANSWERED
        return answers

    def get_many(
        self, space: Keyspace, keys: Sequence[str], *, owed: Container[tuple[str, str]] | None = None
    ) -> list[Answer]:
        """`get` of each key that is not `owed`, in one round trip."""
        belief = self.belief
        skip = self.owed if owed is None else owed
        asked = [i for i, key in enumerate(keys) if (space.name, key) not in skip] if skip else range(len(keys))
        closed = self.breaker.closed
        if not closed or not asked:
            count = len(keys)
            self.stats.skipped += count
            return [OWED if closed else UNANSWERED] * len(keys)
        answers: list[Answer] = [UNANSWERED] * len(keys)
        count = len(keys) - len(asked)
        if count:
            self.stats.skipped += count
            answers = [OWED] * len(keys)
            for i in asked:
                answers[i] = UNANSWERED
        began = self._now()
        try:
            frames = self.tier.get_many(space.scope, [keys[i] for i in asked])
        except Exception as error:
            pass_on(error)
            self.failed("get_many", error, self._now() - began, reads=len(asked))
            return answers
        self._went_well("get_many", began)
        size = sum(map(len, filter(None, frames)))
        self.stats.read_bytes += size
        if self.belief == belief:
            for i, frame in zip(asked, frames, strict=True):
                answers[i] = frame
        return answers

    def put(
        self, namespace: str, generation: int, items: Sequence[tuple[str, bytes]], since: float, *, tell: bool
    ) -> bool:
        """Give the tier `items`, committed or read `since` (monotonic) in `generation`, or owe them.

        True if it holds each of these versions now, or a newer one. `tell`: the memories of other processes are told.
        """
        if self.breaker.closed:
            began = self._now()
            try:
                results = self.tier.put_many(f"{namespace}:{generation}", items, since=since, tell=tell)
            except Exception as error:
                pass_on(error)
                self.failed("put", error, self._now() - began, largest=max(len(frame) for _, frame in items))
            else:
                self._went_well("put", began)
                self._count_put(items, sum(results), tell)
                if self.owed:
                    self.owed.paid(namespace, [(key, version_of(frame)) for key, frame in items])
                return True
        self.owe_many(namespace, [(key, version_of(frame)) for key, frame in items])
        if tell:
            self.queue(len(items))
        return False

    def queue(self, writes: int) -> None:
        """So many writes wait to be replayed, or for a new generation if they can no longer be counted."""
        self.stats.queued += writes
        if self.owed.lost:
            self.stats.dropped += writes

    def attempt(self, op: str, call: Callable[[], _Result]) -> _Result | _Unanswered:
        """What `call` of this tier returns, or `UNANSWERED`: any other operation, under the same rules."""
        if not self.breaker.closed:
            return UNANSWERED
        began = self._now()
        try:
            result = call()
        except Exception as error:
            pass_on(error)
            self.failed(op, error, self._now() - began)
            return UNANSWERED
        self._went_well(OTHER, began)
        return result

    def discard(self, space: Keyspace, key: str, frame: bytes) -> bool:
        """Remove `frame`, which does not open, from under `key`; False if the tier cannot, or did not."""
        tier, scope = self.tier, space.scope
        if not isinstance(tier, Enumerable):
            return False
        return self.attempt("discard", lambda: tier.discard(scope, [(key, frame)])) == 1

    def owe(self, namespace: str, key: str, version: int) -> None:
        """The tier may lack `version` of `key`."""
        self.owe_many(namespace, ((key, version),))

    def owe_many(self, namespace: str, versions: Iterable[tuple[str, int]]) -> None:
        """The tier may lack these; when debts can no longer be counted, it is taken out of service."""
        self.owed.add(namespace, versions)
        if self.owed.lost and self.breaker.closed:
            self.trip(why := "more keys owed than can be counted; it will return under a new generation")
            logger.warning("%s: %s", self.name, why, extra=transition("debts_lost", self.name))

    def owe_again(self, space: Keyspace, versions: Sequence[tuple[str, int]]) -> None:
        """Owe what was read past the tier because it was `OWED`, but not what the tier was given meanwhile.

        Else a key that is read all the time would be owed for ever: whenever it is paid, a read is under way.
        """
        lapsed = [key for key, _ in versions if (space.name, key) not in self.owed]
        answers = dict(zip(lapsed, self.get_many(space, lapsed), strict=True)) if lapsed else {}
        held = {key: version_of(answer) for key, answer in answers.items() if isinstance(answer, bytes)}
        self.owe_many(space.name, [(key, version) for key, version in versions if held.get(key, 0) < version])

    def set_aside(self, namespace: str, item: tuple[str, bytes], error: StoreError) -> None:
        """The tier takes other entries but not this one, which stays owed (R9, R12) and keeps it from no other key."""
        key, frame = item
        self.owe(namespace, key, version_of(frame))
        self.stats.failed(OTHER, error.reason)
        self.stats.replays_failed += 1
        if self.refusals.add(namespace, key, frame, told := without_tier(error, self.name)):
            message = (
                "%s: does not take %.100r of namespace %s (%d bytes), which is answered from below until it does: %s"
            )
            facts = {"namespace": namespace, "error": error.reason}
            logger.warning(
                message, self.name, key, namespace, len(frame), told, extra=transition("set_aside", self.name, **facts)
            )

    def report(self) -> dict[str, Any]:
        """What `health` says of it beside what the tier says of itself."""
        refused, detail = self.refusals.report()
        known = {"breaker": str(self.breaker.state), "owed": len(self.owed), "refused": refused}
        if self.refused or not self.breaker.closed:
            return known | {"ok": False, "detail": self.refused or f"out of service: {self.why}"}
        if self.denied:
            return known | {"ok": False, "detail": f"does not do what it is asked: {self.denied}"}
        return known | {"detail": detail} if detail else known

    def trip(self, why: str) -> None:
        """Take the tier out of service now."""
        self.why = why
        self.breaker.trip()

    def forget_parent(self) -> None:
        """In a child after a fork: the tier is met anew."""
        self.breaker.forget_parent()
        self.owed.forget()
        self.refusals.forget()
        self.stats.reset()
        self.identity, self.passed_at = None, -inf
        self.refused = self.why = self.denied = ""

    def forget(self, scope: str) -> None:
        """Let the tier drop `scope`; if it does not, its entries expire by themselves."""
        try:
            self.tier.forget(scope)
        except Exception as error:
            pass_on(error)
            self.failed("forget", error)

    def failed(
        self, op: str, error: Exception, seconds: float | None = None, *, reads: int = 0, largest: int = 0
    ) -> None:
        """Count a failure of the tier, and take it out of service when it is time.

        Not for the failed put of a `largest` frame that is large: that is owed, and the keeper finds out whose fault it is.
        """
        reason, told = (error.reason if isinstance(error, StoreError) else Reason.OTHER), without_tier(error, self.name)
        self.stats.failed(op, reason, seconds, reads=reads)
        if not isinstance(error, StoreError):
            logger.exception("%s: %s raised %s, which is no StoreError", self.name, op, type(error).__name__)
        if reason is Reason.RESTARTED:
            self.trip("restarted or replaced, until it was repaired")
            message = "%s: restarted or replaced; out of service until it was repaired"
            logger.warning(message, self.name, extra=transition("opened", self.name, op=op, error=reason))
        elif not reason.trips_breaker and reason is not Reason.AUTH:  # who is not let in gets no answer to any call
            if reason not in self._told:
                self._told.add(reason)
                message = "%s: does not do what it is asked (told once): %s"
                logger.warning(message, self.name, told, extra=transition("refused", self.name, op=op, error=reason))
        elif largest <= LARGE and self.breaker.failure():
            self.why = told
            message = "%s: out of service after %s: %s"
            logger.warning(message, self.name, op, told, extra=transition("opened", self.name, op=op, error=reason))

    def _went_well(self, op: str, began: float) -> None:
        self.breaker.success()
        self.stats.timed(op, self._now() - began)

    def _count_put(self, items: Sequence[tuple[str, bytes]], applied: int, tell: bool) -> None:
        """The tier took `items`: writes, which others are told of, or promotions."""
        stats, refused = self.stats, len(items) - applied
        if tell:
            stats.applied += applied
            stats.superseded += refused
            count = len(items)
            stats.told += count
        else:
            stats.promoted += applied
            stats.outrun += refused
        size = sum([len(frame) for _, frame in items])
        stats.written_bytes += size
