"""The generations of a Couchbase record, in one document: two documents are never read or written in one step there.

So that each read and write need not ask for it, a process believes in what it has read of it for `LEASE` seconds. Whoever
changes it announces that first, waits until nobody can believe in a state without the announcement, and only then changes
it. While a change is announced, every read and write looks at the document afterwards, and is done again if it has changed.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from tiered.clock import Clock
from tiered.errors import Ambiguous, NotApplied, Reason, StoreError, StoreUnavailable, without_tier
from tiered.jitter import jitter
from tiered.tiers.couchbase_batch import Held, Mutation
from tiered.tiers.couchbase_link import Link

logger = logging.getLogger(__name__)

LEASE = 0.5
"""Seconds, the same for everybody: a process that believed for longer would write where nobody looks any more."""
WAIT = 1.2 * LEASE
"""Clocks of different machines do not run at quite the same rate."""
FIELDS = ("store", "last", "bumped", "cleared", "changing", "owed", "lost")
Notices = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Per cache tier, namespace and key, the number of the notice."""
STUCK = 10 * LEASE
"""Seconds after which a change that was announced and never made is another's to make, or to withdraw."""
PATIENCE = 30.0
ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class State:
    """What the document said. `last` is the highest number given; each change takes the next."""

    store: str
    last: int
    bumped: int
    cleared: Mapping[str, int]
    changing: str = ""
    """Who has announced a change."""
    owed: Notices = field(default_factory=dict)
    """What other hosts are told (couchbase_hosts.py); a new generation of all namespaces makes it void."""
    lost: Sequence[str] = ()
    """Cache tiers that lack more than can be told."""
    cas: int = 0
    until: float = field(default=0.0, compare=False)
    """Monotonic seconds until which it may be believed without asking again."""

    def space(self, namespace: str) -> int:
        """What the ids of a namespace's documents begin with, besides its name."""
        return self.cleared.get(namespace, 0)

    def number(self, namespace: str | None) -> int:
        """Of the last change of `namespace`, or (None) of all."""
        return self.bumped if namespace is None else self.space(namespace)

    def generation(self, namespace: str) -> int:
        return max(self.bumped, self.space(namespace))


class Generations:
    """The document `id`. Thread-safe; raises `StoreError`."""

    def __init__(self, link: Link, id: str, clock: Clock, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._link, self._id, self._clock, self._pause = link, id, clock, pause
        self._state: State | None = None
        self._announced = "", 0.0
        """The announcement that was read last, and since when it has been there."""

    def state(self) -> State:
        """What is believed now; asks if that is too old."""
        state = self._state
        return state if state is not None and self._clock.monotonic() < state.until else self.read()

    def after(self, state: State) -> State:
        """`state` if it still holds at the end of what was done under it, else what is the case now."""
        return state if self._clock.monotonic() < state.until else self.read()

    def read(self) -> State:
        """Ask. The first to ask creates the document."""
        started = self._clock.monotonic()
        held = self._link.fetch(self._id)
        while held is None:
            self._create()
            started = self._clock.monotonic()
            held = self._link.fetch(self._id)
        state = self._parsed(held, started)
        known, self._state = self._state, state
        if known is not None and known.store != state.store:
            logger.warning("%s: another store is there now, or it was emptied: a new generation", self._link.name)
        self._withdraw(state, started)
        return state

    def change(self, namespace: str | None) -> State:
        """Give `namespace` an empty space and a new generation, or (None) every namespace a new generation.

        Whoever comes while another does the same is content with that.
        """
        try:
            before = self.read().number(namespace)
            announced = self._announce(namespace, before)
        except (StoreUnavailable, Ambiguous) as error:  # an announcement alone changes nothing
            message = f"nothing was changed: {without_tier(error, error.tier)}"
            raise NotApplied(message, tier=error.tier, reason=error.reason) from error
        if announced.number(namespace) > before:
            return announced
        self._pause(WAIT)
        return self._make(namespace, announced)

    def edit(self, how: Callable[[State], State]) -> None:
        """Change what is no generation: by `how` of what is there, at once."""
        for _ in range(ATTEMPTS):
            state = self.read()
            new = how(state)
            if new is state or self._replace(new) is not None:
                return
            self._pause(jitter() * 0.01)
        raise NotApplied("other writers were faster every time", tier=self._link.name, reason=Reason.BUSY)

    def forget(self) -> None:
        self._state = None

    def _withdraw(self, state: State, now: float) -> None:
        """End an announcement whose maker has died: while there is one, everybody asks before and after all that is done."""
        if state.changing != self._announced[0]:
            self._announced = state.changing, now
        elif state.changing and now - self._announced[1] > STUCK:
            with suppress(StoreError):  # the next one tries again
                self._replace(replace(state, changing=""))

    def _announce(self, namespace: str | None, before: int) -> State:
        """Our announcement, when no other is in the way, or the change if another has made it meanwhile.

        An announcement whose maker has died is in nobody's way for long.
        """
        began = self._clock.monotonic()
        other, since = "", began
        while True:
            state = self.read()
            now = self._clock.monotonic()
            if state.changing != other:
                other, since = state.changing, now
            if state.number(namespace) > before:
                return state
            if not other or now - since > STUCK:
                announced = self._replace(replace(state, changing=uuid.uuid4().hex))
                if announced is not None:
                    return announced
            elif now - began > PATIENCE:
                message = "others change the generation all the time"
                raise NotApplied(message, tier=self._link.name, reason=Reason.BUSY)
            else:
                self._pause(LEASE / 10)

    def _make(self, namespace: str | None, announced: State) -> State:
        """The announced change; what else was edited meanwhile is taken along."""
        state = announced
        while state.changing == announced.changing:
            # The time, because a bucket that was put back has forgotten what it gave since.
            number = max(state.last + 1, self._clock.now())
            new = replace(state, last=number, changing="")
            if namespace is None:
                new = replace(new, bumped=number, owed={}, lost=())
            else:
                new = replace(new, cleared={**state.cleared, namespace: number})
            done = self._replace(new)
            if done is not None:
                self._state = None
                return done
            state = self.read()
        message = "another process took this one for dead, and its change with it"
        raise NotApplied(message, tier=self._link.name, reason=Reason.BUSY)

    def _create(self) -> None:
        """Numbers begin with the time, so that a store that was emptied does not give any a second time."""
        now = self._clock.now()
        try:
            self._link.mutate(Mutation(self._id, _body(State(uuid.uuid4().hex, now, now, {})), 0, 0))
        except StoreError as error:
            message = f"the store's first document cannot be written: {without_tier(error, error.tier)}"
            raise StoreUnavailable(message, tier=error.tier, reason=error.reason) from error

    def _replace(self, state: State) -> State | None:
        """`state` as it is stored; None if somebody else was faster."""
        cas = self._link.mutate(Mutation(self._id, _body(state), 0, state.cas))
        return replace(state, cas=cas) if cas else None

    def _parsed(self, held: Held, started: float) -> State:
        try:
            fields: dict[str, Any] = json.loads(held.body)
            state = State(**fields, cas=held.cas)
            _check(state)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            message = f"the document {self._id!r} is no generation; another program uses these keys: set prefix="
            raise StoreUnavailable(message, tier=self._link.name, reason=Reason.MISUSE) from error
        return replace(state, until=started if state.changing else started + LEASE)


def _check(state: State) -> None:
    """Raises `TypeError` or `AttributeError` for what was not written here."""
    told = [number for them in state.owed.values() for keys in them.values() for number in keys.values()]
    numbers, texts = (
        [state.last, state.bumped, *state.cleared.values(), *told],
        [state.store, state.changing, *state.lost],
    )
    if not all(type(it) is int and 0 <= it < 2**63 for it in numbers) or not all(type(it) is str for it in texts):
        raise TypeError("a number or a text is none")


def _body(state: State) -> bytes:
    fields = {name: getattr(state, name) for name in FIELDS}
    return json.dumps(fields, separators=(",", ":")).encode()
