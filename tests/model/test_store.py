"""The whole store against a dict with expiry, under a clock that is moved by hand."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.clocks import HandClock
from tiered import FileTier, MemoryTier, TieredBackend

KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.one_of(st.integers(), st.text(max_size=3), st.lists(st.integers(0, 9), max_size=3), st.tuples(st.none()))
TTLS = st.one_of(st.none(), st.floats(0.5, 20))


class Store(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.directory = HandClock(), tempfile.mkdtemp(prefix="tiered-model-")
        self.model: dict[str, tuple[Any, float]] = {}
        self.open()

    def open(self) -> None:
        memory = MemoryTier(max_entries=2, clock=self.clock)
        self.store = TieredBackend(
            [memory, FileTier(self.directory, clock=self.clock, sync="normal")], clock=self.clock
        )

    def live(self) -> dict[str, Any]:
        return {key: value for key, (value, until) in self.model.items() if until > self.clock.now()}

    def until(self, ttl: float | None) -> float:
        return float("inf") if ttl is None else self.clock.now() + max(1, round(ttl * 1000))

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def set(self, key: str, value: Any, ttl: float | None) -> None:
        self.store.set(key, value, ttl)
        self.model[key] = value, self.until(ttl)

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def add(self, key: str, value: Any, ttl: float | None) -> None:
        there = key in self.live()
        assert (self.store.add(key, value, ttl) is None) == there
        if not there:
            self.model[key] = value, self.until(ttl)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.store.delete(key) == (key in self.live())
        self.model.pop(key, None)

    @rule(key=KEYS, ttl=TTLS)
    def touch(self, key: str, ttl: float | None) -> None:
        there = key in self.live()
        assert self.store.touch(key, ttl) == there
        if there:
            self.model[key] = self.model[key][0], self.until(ttl)

    @rule(key=KEYS)
    def append(self, key: str) -> None:
        live = self.live()
        until = self.model[key][1] if key in live else float("inf")
        expected = [live.get(key), 1]
        assert self.store.update(key, lambda old: [old, 1]) == expected
        self.model[key] = expected, until

    @rule(values=st.dictionaries(KEYS, VALUES), ttl=TTLS)
    def set_many(self, values: dict[str, Any], ttl: float | None) -> None:
        self.store.set_many(values, ttl)
        self.model.update({key: (value, self.until(ttl)) for key, value in values.items()})

    @rule(seconds=st.floats(0.01, 10))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def expiry_runs(self) -> None:
        self.store._core.chain.record.expire(self.clock.now())

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert self.store.get(key, "absent") == self.live().get(key, "absent")

    @invariant()
    def everything_agrees(self) -> None:
        live = self.live()
        assert self.store.get_many(["a", "b", "c", "d"]) == live
        assert dict(self.store.items()) == live

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
