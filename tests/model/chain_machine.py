"""memory → Redis → File in two processes, a real server that is cut off, flushed, damaged and killed, against a model.

The processes are two backends with tiers of their own, on one directory and one server. Their threads are stopped, and
time is moved by hand: looks, retries and repairs happen when a rule says so, so that a failure can be repeated.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.clocks import HandClock
from tests.model.histories import ABSENT, NEVER, Histories, Place
from tests.model.process import NAMESPACES, STALENESS, Process
from tests.servers import RedisServer
from tiered import TieredBackend

KEYS = ("a", "b")

places = st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(KEYS))
processes = st.sampled_from((0, 1))
ROUNDS = 8
"""Of looks 40 s apart: a server that nobody asks is looked at every two minutes, and then there is a probe to wait for."""

values = st.one_of(st.integers(0, 99), st.text(max_size=3), st.lists(st.integers(0, 9), max_size=3), st.just((None,)))
ttls = st.one_of(st.none(), st.integers(1, 160).map(lambda eighths: eighths / 8))


class ChainMachine(RuleBasedStateMachine):
    """`server` is set by whoever runs it."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.directory = HandClock(), tempfile.mkdtemp(prefix="tiered-model-")
        self.model = Histories(self.clock, STALENESS)
        self.up, self.starts = True, 0
        self._flush()
        self._snapshot().unlink(missing_ok=True)
        self.processes = [self._start(), self._start()]

    def teardown(self) -> None:
        for process in self.processes:
            process.store.close()
        if not self.up:
            self.server.start()
        shutil.rmtree(self.directory)

    # Writing

    @rule(number=processes, place=places, value=values, ttl=ttls)
    def set(self, number: int, place: Place, value: Any, ttl: float | None) -> None:
        process, space = self._at(number, place)
        assert space.set(place[1], value, ttl).tiers["file"] == "ok"
        self.model.write(process, place, value, self._until(ttl))

    @rule(number=processes, place=places, value=values, ttl=ttls)
    def add(self, number: int, place: Place, value: Any, ttl: float | None) -> None:
        process, space = self._at(number, place)
        there = self.model.now(place) is not ABSENT
        assert (space.add(place[1], value, ttl) is None) == there
        if not there:
            self.model.write(process, place, value, self._until(ttl))

    @rule(number=processes, place=places)
    def delete(self, number: int, place: Place) -> None:
        process, space = self._at(number, place)
        assert space.delete(place[1]) == (self.model.now(place) is not ABSENT)
        self.model.write(process, place, ABSENT)

    @rule(number=processes, place=places, ttl=ttls)
    def touch(self, number: int, place: Place, ttl: float | None) -> None:
        process, space = self._at(number, place)
        value = self.model.now(place)
        assert space.touch(place[1], ttl) == (value is not ABSENT)
        if value is not ABSENT:
            self.model.write(process, place, value, self._until(ttl))

    @rule(number=processes, place=places)
    def update(self, number: int, place: Place) -> None:
        process, space = self._at(number, place)
        value, until = self.model.now(place), self.model.until(place)
        expected = [None if value is ABSENT else value] * 2
        assert space.update(place[1], lambda old: [old, old]) == expected
        self.model.write(process, place, expected, until)

    @rule(number=processes, place=places, by=st.integers(-5, 5))
    def increment(self, number: int, place: Place, by: int) -> None:
        process, space = self._at(number, place)
        value, until = self.model.now(place), self.model.until(place)
        if value is ABSENT or type(value) is int:
            expected = by + (0 if value is ABSENT else value)
            assert space.increment(place[1], by) == expected
            self.model.write(process, place, expected, until)

    @rule(
        number=processes, namespace=st.sampled_from(NAMESPACES), values=st.dictionaries(st.sampled_from(KEYS), values)
    )
    def set_many(self, number: int, namespace: str, values: dict[str, Any]) -> None:
        process, space = self._at(number, (namespace, ""))
        space.set_many(values, 10)
        for key, value in values.items():
            self.model.write(process, (namespace, key), value, self._until(10))

    @rule(number=processes, namespace=st.sampled_from(NAMESPACES), keys=st.sets(st.sampled_from(KEYS)))
    def delete_many(self, number: int, namespace: str, keys: set[str]) -> None:
        process, space = self._at(number, (namespace, ""))
        there = self.model.all(namespace)
        assert space.delete_many(sorted(keys)) == {key: key in there for key in sorted(keys)}
        for key in keys:
            self.model.write(process, (namespace, key), ABSENT)

    @rule(number=processes, namespace=st.sampled_from(NAMESPACES))
    def clear(self, number: int, namespace: str) -> None:
        process, space = self._at(number, (namespace, ""))
        space.clear()
        self.model.clear(process, namespace)

    # Reading

    @rule(number=processes, place=places)
    def get(self, number: int, place: Place) -> None:
        process, space = self._at(number, place)
        self.model.check(process, place, space.get(place[1], ABSENT))

    @rule(number=processes, place=places)
    def lookup(self, number: int, place: Place) -> None:
        process, space = self._at(number, place)
        found = space.lookup(place[1])
        self.model.check(process, place, found.value if found.found else ABSENT)

    @rule(number=processes, place=places, value=values)
    def get_or_set(self, number: int, place: Place, value: Any) -> None:
        process, space = self._at(number, place)
        loaded: list[Any] = []
        found = space.get_or_set(place[1], lambda: loaded.append(value) or value, 10)
        self.model.check(process, place, ABSENT if loaded else found)
        if loaded:
            self.model.write(process, place, value, self._until(10))

    @rule(number=processes, namespace=st.sampled_from(NAMESPACES))
    def get_many(self, number: int, namespace: str) -> None:
        process, space = self._at(number, (namespace, ""))
        found = space.get_many(KEYS)
        for key in KEYS:
            self.model.check(process, (namespace, key), found.get(key, ABSENT))

    @rule(number=processes, namespace=st.sampled_from(NAMESPACES))
    def items(self, number: int, namespace: str) -> None:
        _, space = self._at(number, (namespace, ""))
        assert dict(space.items()) == self.model.all(namespace)
        assert list(space.keys()) == list(self.model.all(namespace))

    # What happens by itself, and to the server

    @rule(eighths=st.integers(1, 4), looks=st.integers(1, 3))
    def moments_pass(self, eighths: int, looks: int) -> None:
        for _ in range(looks):
            self.clock.advance(eighths / 8)
            self._look()

    @rule(seconds=st.integers(1, 40))
    def time_passes_unobserved(self, seconds: int) -> None:
        self.clock.advance(seconds / 2)

    @rule(number=processes)
    def one_looks(self, number: int) -> None:
        self.processes[number].keeper.look()

    @rule(number=processes)
    def memory_forgets(self, number: int) -> None:
        memory = self.processes[number].store._core.chain.memory
        with memory.lock:
            for space in self.processes[number].spaces.values():
                for key in KEYS:
                    memory.drop(space._core.space.part, key)

    @rule(number=processes)
    def expiry_runs(self, number: int) -> None:
        self.processes[number].file.expire(self.clock.now())

    @rule(number=processes)
    def restart(self, number: int) -> None:
        self.processes[number].store.close()
        self.processes[number] = self._start()

    @rule(number=processes, cut=st.booleans())
    def a_line_is_cut_or_mended(self, number: int, cut: bool) -> None:
        self.processes[number].line.cut = cut

    @rule(number=processes, slow=st.booleans())
    def a_line_is_slow_or_fast(self, number: int, slow: bool) -> None:
        self.processes[number].line.slow = slow

    @rule(number=processes, place=places, value=values)
    def a_write_does_not_reach_redis(self, number: int, place: Place, value: Any) -> None:
        line = self.processes[number].line
        cut, line.cut = line.cut, True
        self.set(number=number, place=place, value=value, ttl=None)
        line.cut = cut

    @rule(number=processes, place=places, older=values, newer=values)
    def a_write_overtakes_one_that_is_late(self, number: int, place: Place, older: Any, newer: Any) -> None:
        line = self.processes[number].line
        slow, line.slow = line.slow, True
        self.set(number=number, place=place, value=older, ttl=None)
        line.slow = slow
        self.set(number=1 - number, place=place, value=newer, ttl=None)
        line.arrive()

    @precondition(lambda self: any(process.line.late for process in self.processes))
    @rule()
    def what_was_late_arrives(self) -> None:
        for process in self.processes:
            process.line.arrive()

    @rule()
    def all_is_well_for_a_while(self) -> None:
        """Long enough for every repair; and afterwards they must have happened (promise 7)."""
        self._heal()
        for _ in range(ROUNDS):
            self.clock.advance(40)
            self._look()
        for process in self.processes:
            state = process.store.health()["redis"]
            assert (state["breaker"], state["owed"]) == ("closed", 0), f"not repaired: {state}"
            marks = process.file.journal.pending("redis", limit=1)
            assert not marks, f"not replayed: {marks}"

    @precondition(lambda self: self.up)
    @rule(place=places, lost=st.booleans())
    def redis_loses_or_damages_a_key(self, place: Place, lost: bool) -> None:
        self._lose_late()
        self._with_client(lambda client: [self._harm(client, name, lost) for name in client.keys(f"*:{place[1]}")])

    @precondition(lambda self: self.up)
    @rule()
    def redis_is_flushed(self) -> None:
        self._lose_late()
        self._flush()

    @precondition(lambda self: self.up)
    @rule()
    def redis_dies(self) -> None:
        self._lose_late()
        self.server.kill()
        self.up = False

    @precondition(lambda self: self.up)
    @rule()
    def redis_saves_a_snapshot(self) -> None:
        self._with_client(lambda client: client.save())

    @precondition(lambda self: self.up)
    @rule(number=processes, place=places, value=values)
    def redis_restarts_with_old_data(self, number: int, place: Place, value: Any) -> None:
        self._lose_late()
        self.redis_saves_a_snapshot()
        self.set(number=number, place=place, value=value, ttl=None)
        self.server.restart()

    @precondition(lambda self: not self.up)
    @rule()
    def redis_returns(self) -> None:
        """With the data of its last snapshot, or empty."""
        self.server.start()
        self.up = True

    @invariant()
    def memory_is_bounded(self) -> None:
        for process in self.processes:
            assert process.store.stats()["memory"]["entries"] <= 2

    # Private

    def _at(self, number: int, place: Place) -> tuple[Process, TieredBackend]:
        process = self.processes[number]
        return process, process.spaces[place[0]]

    def _start(self) -> Process:
        self.starts += 1
        return Process(f"process {self.starts}", self.directory, self.server.url, self.clock)

    def _until(self, ttl: float | None) -> float:
        return NEVER if ttl is None else self.clock.now() + round(ttl * 1000)

    def _look(self) -> None:
        for process in self.processes:
            process.keeper.look()

    def _heal(self) -> None:
        for process in self.processes:
            process.line.cut = process.line.slow = False
            process.line.arrive()
        if not self.up:
            self.redis_returns()

    def _lose_late(self) -> None:
        """docs/protocol.md, "What remains": a put must not be on its way past an eviction."""
        for process in self.processes:
            process.line.late.clear()

    def _flush(self) -> None:
        self._with_client(lambda client: client.flushall())

    def _snapshot(self) -> Path:
        return self.server.directory / "dump.rdb"

    def _harm(self, client: redis.Redis, name: bytes, lost: bool) -> None:
        if lost:
            client.delete(name)
        else:
            client.set(name, b"\xf5t\x01 damaged", keepttl=True)

    def _with_client(self, work: Callable[[redis.Redis], Any]) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            work(client)
