"""Read, change, write: `update`, `touch` and `increment`, atomic by the version that the write expects."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, MutableSequence, MutableSet
from copy import deepcopy
from functools import partial
from time import sleep
from typing import Any, NamedTuple

from tiered.arguments import KEEP, Ttl, _Keep, check_function, check_key, lifetime
from tiered.chain import Chain, Space
from tiered.changing import Change, check_free, innermost
from tiered.drafting import own
from tiered.errors import CodecError, InvalidValue, NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.handlers import pass_on
from tiered.jitter import jitter
from tiered.steps import Ask, Commit, Compute, Pause, Steps
from tiered.tiers.base import NOTHING_HAS, Given, Write, Written
from tiered.turns import Base, Line, Turn

MAX_CONFLICTS = 1000
_CONTAINERS = (MutableSequence, MutableMapping, MutableSet, tuple, bytearray)


class _Current(NamedTuple):
    """What the record has, or is about to have; version 0 if nothing."""

    version: int = 0
    value: Any = None
    expires_at: int = 0
    keep_until: int = 0
    after: Base | None = None
    """What it is to be by; in place of the version, which is not known."""


class Updates:
    """Of one namespace. Thread-safe. `draft` makes a checked write of a value, `write` commits and publishes it."""

    def __init__(
        self,
        chain: Chain,
        space: Space,
        ready: Callable[..., None],
        draft: Callable[[str, Any, Ttl, int | None], Write],
        write: Callable[[Write, Any], tuple[Written, Any]],
    ) -> None:
        self._chain, self._space = chain, space
        self._ready, self._draft, self._write = ready, draft, write
        self._now = chain.clock.monotonic
        self._gives = bool(getattr(chain.record, "gives", False))

    def update(
        self, key: str, fn: Callable[[Any], Any], default: Any, ttl: Ttl | _Keep, *, first: Ttl = None
    ) -> Steps[Any]:
        """The new value; `fn` is called for each attempt. `first`: the ttl of a key that is made where others keep their own."""
        key = check_key(key, self._chain.max_key_bytes)
        check_function(fn, "update takes a function of the value")
        for limit in (ttl, first):
            if not isinstance(limit, _Keep):
                lifetime(limit)
        check_free(innermost.get(), self._space, key)
        turns, turn, took, wrote = self._space.turns, Turn(), 0.0, False
        try:
            for attempt in range(MAX_CONFLICTS):
                if turn.passed or turn.dissolved:
                    turns.leave(key, turn)
                    turn = Turn(took)
                if not turn.come:
                    yield from turns.wait(key, turn)
                began = self._now()
                made = yield from self._made(key, fn, default, ttl, first, turn)
                if made is None:
                    continue
                value, kept, write = made
                if (yield Commit(partial(self._write, write, kept), write, kept, "update"))[0].version:
                    wrote = True
                    return value
                turn.line.broken, took = True, self._now() - began
                self._space.stats.conflicts += 1
                if attempt > 2:
                    seconds = jitter() * min(0.05, 0.0002 * attempt)
                    yield Pause(partial(sleep, seconds), seconds)
        finally:
            if not wrote:
                turn.line.broken = True
            turns.leave(key, turn)
        message = f"{MAX_CONFLICTS} writers in a row were faster; nothing was changed"
        raise NotApplied(message, tier=self._chain.record.name, reason=Reason.BUSY)

    def touch(self, key: str, ttl: Ttl) -> Steps[bool]:
        """Whether there was something to touch."""
        missing = object()

        def same(value: Any) -> Any:
            if value is missing:
                raise _Untouched
            return value

        try:
            yield from self.update(key, same, missing, ttl)
        except _Untouched:
            return False
        return True

    def increment(self, key: str, by: int, ttl: Ttl) -> Steps[int]:
        """The sum; `ttl` is that of a counter that is made."""
        if isinstance(by, bool) or not isinstance(by, int):
            raise InvalidValue(f"increment by an int, not {type(by).__name__}")

        def plus(value: Any) -> int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidValue(f"increment needs an int under the key, but a {type(value).__name__} is there")
            return value + by

        return int((yield from self.update(key, plus, 0, KEEP, first=ttl)))

    def _made(
        self, key: str, fn: Callable[[Any], Any], default: Any, ttl: Ttl | _Keep, first: Ttl, turn: Turn
    ) -> Steps[tuple[Any, Any, Write] | None]:
        """The new value, as `fn` returned it and as memory may hold it, and its write, on which the next one may build from here on.

        None if `fn` failed at what may never be: only what the record has is worth an error.
        """
        held = self._drafted(turn)
        if held is None:
            began = self._now()
            try:
                held = yield Ask(partial(self._current, key))
            except StoreError as error:  # of the record, or too much waits already
                # The write, which counts itself, never comes.
                self._space.stats.operations["update"].failed(self._now() - began)
                if not isinstance(error, StoreUnavailable):
                    raise
                message = f"nothing was changed: {without_tier(error, error.tier)}"
                raise NotApplied(message, tier=error.tier, reason=error.reason) from error
        try:
            value = yield from self._called(key, fn, held.value if held.version else _fresh(default))
            kept = own(value)
            write = self._changed(key, kept, held, ttl, first)
        except Exception as error:
            pass_on(error)
            if held.after is None:
                raise
            turn.base = None
            return None
        turn.line = held.after.line if held.after is not None else Line()
        if self._gives:
            given = Given()
            write = write._replace(given=given)
            self._space.turns.pass_on(key, turn, Base(write.draft, given, turn.line))
        return value, kept, write

    def _called(self, key: str, fn: Callable[[Any], Any], value: Any) -> Steps[Any]:
        """What `fn` makes of `value`."""
        change = Change(self._space, key)
        try:
            innermost.set(change)
            change.over = False
            return (yield Compute(partial(fn, value)))
        finally:
            change.over = True
            innermost.set(change.outer)

    def _changed(self, key: str, value: Any, held: _Current, ttl: Ttl | _Keep, first: Ttl) -> Write:
        """A checked write of `value` in place of what is `held`."""
        write = self._draft(key, value, first if isinstance(ttl, _Keep) else ttl, held.version)
        if isinstance(ttl, _Keep) and held.version:
            write = write._replace(draft=write.draft._replace(expires_at=held.expires_at, keep_until=held.keep_until))
        return write if held.after is None else write._replace(after=held.after.given)

    def _drafted(self, turn: Turn) -> _Current | None:
        """What the one before is about to write, if its turn was passed on."""
        if turn.base is None:
            return None
        draft, _, line = turn.base
        if line.broken or 0 < draft.expires_at <= self._chain.clock.now():
            return None
        try:
            value = self._chain.codec.decode(draft.payload)  # one of its own
        except CodecError:
            return None  # what never was is no damage: the record says what there is
        return _Current(NOTHING_HAS, value, draft.expires_at, draft.keep_until, turn.base)

    def _current(self, key: str) -> _Current:
        self._ready(write=True)
        began = self._now()
        try:
            _, frame = self._chain.record.read(self._space.name, key)
        except StoreUnavailable as error:
            self._chain.record_stats.failed("read", error.reason, self._now() - began)
            raise
        self._chain.record_stats.timed("read", self._now() - began)
        if frame is None:
            return _Current()
        try:
            entry = self._space.frames.open(frame, key)
            if entry.absent(self._chain.clock.now()):
                return _Current()
            return _Current(entry.version, self._chain.decode(entry), entry.expires_at, entry.keep_until)
        except CodecError as error:
            raise self._chain.unusable(error, NotApplied) from error


def _fresh(default: Any) -> Any:
    """A copy of a container, which `fn` may change; anything else may be there to be recognised by `is`."""
    return deepcopy(default) if isinstance(default, _CONTAINERS) else default


class _Untouched(Exception):
    """`touch` found nothing to touch."""
