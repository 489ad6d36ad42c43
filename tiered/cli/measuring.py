"""Measuring a chain as it is: whole operations, and each of its tiers by itself."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from math import ceil
from threading import Event, Thread
from typing import TYPE_CHECKING

from tiered.cli.condition import chain_of, space_of
from tiered.entry import Draft
from tiered.errors import ConfigError, StoreError
from tiered.tiers.base import CacheTier, Record, Write

if TYPE_CHECKING:
    from tiered.backend import TieredBackend

NAMESPACE = "tiered-bench"
PREFIX = "bench:"
TTL = 600.0
"""Seconds after which what a killed run leaves behind is gone."""
MANY = 100
BATCH = 1000
"""A hit in memory takes less time than looking at the clock does."""

Call = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Measured:
    """Times are seconds, of one call. `keys`: how many a call has. `error`: why there are no numbers."""

    what: str
    operation: str
    keys: int = 1
    per_second: float | None = None
    """Keys, of all threads together."""
    p50: float | None = None
    p99: float | None = None
    slowest: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """How each operation is called: `seconds` long, by `threads`, on `keys` keys with values of `value_bytes`."""

    seconds: float
    threads: int
    keys: int
    value_bytes: int


class Bench:
    """Measures in the namespace `NAMESPACE` of a chain, which it clears before and after."""

    def __init__(self, store: TieredBackend, load: Load) -> None:
        self._store, self._load = store.namespace(NAMESPACE), load
        self._chain, self._space = chain_of(self._store), space_of(self._store)
        self._keys = [f"{PREFIX}{number}" for number in range(load.keys)]
        letters = random.Random(load.value_bytes).choices(string.ascii_letters, k=load.value_bytes)
        self._value = "".join(letters)
        self._numbers = count(1)

    def run(self) -> Iterator[Measured]:
        """One result after the other. Raises `ConfigError` if the namespace is in use, `StoreError` if nothing works."""
        if strangers := [key for key in islice(self._store.keys(), 1000) if not key.startswith(PREFIX)]:
            raise ConfigError(f"namespace {NAMESPACE} has keys that are not of bench ({len(strangers)} or more)")
        try:
            self._store.clear()
            yield from self._whole()
            for guard in self._chain.guards:
                yield from self._tier(guard.tier)
            if self._chain.record is not self._chain.memory:
                yield from self._record(self._chain.record)
        finally:
            self._store.clear()

    # The chain

    def _whole(self) -> Iterator[Measured]:
        store, value, keys = self._store, self._value, self._keys
        store.set_many(dict.fromkeys(keys, value), ttl=TTL)
        yield self._measured("chain", "set", lambda key: store.set(key, value, ttl=TTL))
        many = [dict.fromkeys(keys[at : at + MANY], value) for at in range(0, len(keys), MANY)]
        each = {group: values for values in many for group in values}
        yield self._measured(
            "chain", f"set_many {len(many[0])}", lambda key: store.set_many(each[key], ttl=TTL), keys=len(many[0])
        )
        yield self._measured(
            "chain", f"get_many {len(many[0])}", lambda key: store.get_many(each[key]), keys=len(many[0])
        )
        if self._chain.has_memory:
            held = keys[0]  # one is enough: a memory of any size holds it
            store.set(held, value, ttl=TTL)
            yield self._measured(
                "chain", "get, in memory", lambda _: [store.get(held) for _ in range(BATCH)], batch=BATCH
            )
        else:
            yield self._measured("chain", "get", store.get)

    # Its tiers

    def _tier(self, tier: CacheTier) -> Iterator[Measured]:
        scope = self._space.scope
        yield self._measured(tier.name, "get", lambda key: tier.get(scope, key))
        yield self._measured(tier.name, "put", lambda key: tier.put_many(scope, [(key, self._frame(key))]))

    def _record(self, record: Record) -> Iterator[Measured]:
        def commit(key: str) -> object:
            return record.commit(NAMESPACE, [Write(key, self._draft(key))], now=self._chain.clock.now())

        yield self._measured(record.name, "read", lambda key: record.read(NAMESPACE, key))
        yield self._measured(record.name, "commit", commit)

    def _draft(self, key: str) -> Draft:
        codec, expires_at = self._chain.codec, self._chain.clock.now() + int(TTL * 1000)
        return self._space.frames.draft(key, codec.encode(self._value), codec.id, expires_at)

    def _frame(self, key: str) -> bytes:
        """Newer than what is there, so that it is stored."""
        return self._draft(key).seal((1 << 60) + next(self._numbers))

    # Measuring

    def _measured(self, what: str, operation: str, call: Call, *, keys: int = 1, batch: int = 1) -> Measured:
        load, stop, errors = self._load, Event(), list[Exception]()
        times = [list[float]() for _ in range(load.threads)]
        threads = []
        for number, mine in enumerate(times):
            own = self._keys[number :: load.threads] or self._keys
            threads.append(Thread(target=_repeat, args=(call, own, stop, mine, errors), daemon=True))
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            stop.wait(load.seconds)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        took = time.perf_counter() - began
        for error in errors:
            if not isinstance(error, StoreError):
                raise error
            return Measured(what, operation, keys, error=str(error))
        return _result(
            Measured(what, operation, keys), sorted(it / batch for mine in times for it in mine), batch, took
        )


def _repeat(call: Call, keys: Sequence[str], stop: Event, times: list[float], errors: list[Exception]) -> None:
    """Call it for one key after the other; an error ends it for all threads."""
    try:
        for key in cycle(keys):
            began = time.perf_counter()
            call(key)
            times.append(time.perf_counter() - began)
            if stop.is_set():
                return
    except Exception as error:  # for whoever waits for this thread
        errors.append(error)
        stop.set()


def _result(of: Measured, times: list[float], batch: int, took: float) -> Measured:
    if not times:
        return Measured(of.what, of.operation, of.keys, error="not one call was over in time; give it more --seconds")
    per_second = len(times) * batch * of.keys / took
    return Measured(of.what, of.operation, of.keys, per_second, _at(times, 0.5), _at(times, 0.99), times[-1])


def _at(times: list[float], share: float) -> float:
    return times[ceil(share * len(times)) - 1]
