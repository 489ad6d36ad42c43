"""No read is older than δ, however late the threads that look and listen: by hand, so that they are as late as can be."""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.by_hand import Process
from tests.unit.conftest import Start
from tests.waiting import LIMIT, eventually, started
from tiered.entry import MAX_VERSION
from tiered.errors import Reason, StoreError, StoreUnavailable
from tiered.replication import coherence
from tiered.testing.contract import put
from tiered.tiers.base import Told

DELTA = 1.5


@pytest.fixture
def a(start: Start) -> Process:
    a = start()
    a.store.set("k", "v1")
    a.record.journal.flush()
    return a


@pytest.fixture
def b(start: Start, a: Process) -> Process:
    b = start()
    assert b.store.get("k") == "v1"
    return b


def listens(process: Process) -> None:
    """As if a subscription had proven everything up to now."""
    process.store._core.space.subscribed = True
    process.store._core.chain.trust.heard = process.clock.monotonic()


def test_memory_is_asked_again_after_delta(a: Process, b: Process) -> None:
    b.clock.advance(DELTA - 0.1)
    assert b.store.lookup("k").tier == "memory"
    b.clock.advance(0.2)
    assert b.store.lookup("k").tier == "file"  # nobody has looked, so the cache is not believed either


def test_memory_lives_on_while_looks_and_messages_prove_it(a: Process, b: Process) -> None:
    b.clock.advance(0.1)
    for _ in range(10):
        b.look()
        listens(b)
        b.clock.advance(DELTA - 0.1)
        assert b.store.lookup("k").tier == "memory" and b.store.get("k") == "v1"
    assert b.store.get_many(["k"]) == {"k": "v1"} and b.cache.gets == ["k"]


@pytest.mark.parametrize("silent", ["looks", "messages"])
def test_memory_does_not_live_on_when_one_of_them_stops(a: Process, b: Process, silent: str) -> None:
    b.clock.advance(0.1)
    b.look()
    listens(b)
    for _ in range(4):
        b.clock.advance(0.4)
        b.look() if silent == "messages" else listens(b)
    assert b.store.lookup("k").tier != "memory"


def test_an_entry_of_a_subscription_that_broke_is_not_prolonged(a: Process, b: Process) -> None:
    b.clock.advance(0.1)
    b.look()
    listens(b)
    b.store._core.service.coherence._lose()
    assert b.store._core.chain.trust.heard == -math.inf and not b.remembers("k")


class Listening:
    """A tier to subscribe to that is well."""

    def __init__(self) -> None:
        self.subscriptions = 0

    def subscribe(self) -> Listening:
        self.subscriptions += 1
        return self

    def add(self, namespace: str) -> None: ...

    def beat(self) -> None: ...

    def receive(self) -> list[Told]:
        return []

    def close(self) -> None: ...


class Silence:
    """A tier to subscribe to whose server has gone without a word; a second passes at each look at it."""

    def __init__(self, it: Process) -> None:
        self._it, self._looks = it, 0

    def subscribe(self) -> Silence:
        return self

    def add(self, namespace: str) -> None: ...

    def beat(self) -> None: ...

    def close(self) -> None: ...

    def receive(self) -> list[Told]:
        self._it.clock.advance(1)
        self._looks += 1
        if self._looks > 20:
            self._it.store._core.service.coherence._stop.set()
        return []


def test_a_subscription_that_says_nothing_is_given_up(b: Process) -> None:
    coherence = b.store._core.service.coherence
    coherence._tier = Silence(b)
    with pytest.raises(StoreError, match="no heartbeat"):
        coherence._listen()
    assert b.store._core.chain.trust.heard == -math.inf


def test_one_thread_listens_however_many_calls_come_first(b: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would hear every message, and what one loses would be lost for all."""

    class SlowToStart(Thread):
        def start(self) -> None:
            super().start()
            arrived.wait(LIMIT)  # until the others are there, too

    monkeypatch.setattr(coherence, "Thread", SlowToStart)
    service, arrived, came = b.store._core.service, Event(), count(1)
    listening = service.coherence._tier = Listening()

    def first() -> None:
        if next(came) == 8:
            arrived.set()
        service.coherence.start()

    for call in [started(first) for _ in range(8)]:
        call.result(LIMIT)
    eventually(lambda: listening.subscriptions, "a subscription")
    service.coherence.stop()
    service.coherence.start()
    assert listening.subscriptions == 1


def test_a_message_drops_what_is_older_and_nothing_else(a: Process, b: Process) -> None:
    version = b.store.lookup("k").version
    for told, stays in ((version - 1, True), (version, True), (version + 1, False)):
        b.store._core.service.coherence._hear(Told("told", "default", [("k", told), ("unknown", told)]))
        assert b.remembers("k") is stays


def test_a_read_under_way_does_not_bring_back_what_a_message_has_dropped(a: Process, start: Start) -> None:
    b = start()
    b.store.get("other")
    b.cache.after_get = lambda: b.store._core.service.coherence._hear(
        Told("told", "default", [("k", a.store.set("k", "v2").version)])
    )
    assert b.store.get("k") == "v2" and b.store.get("k") == "v2"


def test_a_stopped_process_reads_nothing_that_is_older_than_delta(a: Process, b: Process) -> None:
    a.cache.cut_off()
    a.store.set("k", "v2")
    b.clock.advance(DELTA + 0.1)
    assert b.store.get("k") == "v2" and b.store.get_many(["k"]) == {"k": "v2"}


def test_nobody_joins_a_read_that_was_answered_from_what_he_may_not_believe_himself(a: Process, start: Start) -> None:
    """The leader might still believe the cache; δ after its last look a reader that begins later must not."""
    b = start(entries=0)
    b.store.get("other")
    a.cache.cut_off()
    b.clock.advance(0.1)
    a.store.set("k", "v2")  # b has not looked since
    b.clock.advance(DELTA - 0.3)
    answers: list[str] = []
    follower = Thread(target=lambda: answers.append(b.store.get("k")))

    def while_the_leader_holds_the_old_value() -> None:
        b.clock.advance(0.5)
        follower.start()
        eventually(lambda: bool(answers) or b.store.stats()["namespace"]["coalesced"] > 0)

    b.cache.after_get = while_the_leader_holds_the_old_value
    b.store.get("k")  # began in time: may be old
    follower.join()
    assert answers == ["v2"]


def test_a_writer_without_the_cache_is_noticed_while_nobody_has_adopted_it(start: Start, tmp_path: Path) -> None:
    """Without adoption its commits leave no marks, so that neither looks nor messages prove anything."""
    b, plain = start(directory=tmp_path / "new"), start(directory=tmp_path / "new", cached=False)
    b.cache.cut_off()  # for commands: the server may have too many clients, while a subscription goes on
    plain.store.set("k", "v1")
    assert b.store.get("k") == "v1"
    b.clock.advance(0.1)
    plain.store.set("k", "v2")
    for _ in range(20):
        b.look()
        listens(b)
        b.clock.advance(0.1)
    assert b.store.get("k") == "v2"


def test_a_doubted_write_leaves_no_trace_on_the_key(a: Process, b: Process) -> None:
    """What was under way is kept out of memory; what begins afterwards is not."""
    events = b.store._core.space.flights.events
    with b.store._core.chain.memory.lock:
        b.store._core.space.flights.reach("k", 1)
    b.store._core.service.writer._doubt(b.store._core.space, (b.store._core.drafter.one("k", "perhaps", None),))
    assert not b.remembers("k") and b.owes("k")
    assert b.store._core.space.flights.floor("k", events) > MAX_VERSION
    later = b.store._core.space.flights.events
    with b.store._core.chain.memory.lock:
        b.store._core.space.flights.reach("k", 5)
    assert b.store._core.space.flights.floor("k", later) == 5


def test_an_absence_that_is_pending_is_owed_after_a_miss(a: Process, start: Start) -> None:
    """R17: whoever read the old value from the record before may still promote it into the empty slot."""
    b = start(entries=0)
    assert b.store.lookup("k").tier == "cache"
    old, scope = b.held("k"), b.store._core.space.scope
    assert old is not None
    a.cache.server.memory.forget(scope)
    a.cache.cut_off()
    a.store.delete("k")
    assert b.store.get("k") is None and b.owes("k")
    assert put(b.cache, scope, "k", old)  # the late promotion
    assert b.store.get("k") is None
    b.look(3)
    assert not b.owes("k") and b.store.lookup("k").tier == "cache" and b.store.get("k") is None


def test_an_absence_that_is_settled_is_not_owed_after_a_miss(a: Process, start: Start) -> None:
    b = start(entries=0)
    assert b.store.get("k") == "v1" and b.store.get("never written") is None
    assert not b.owes("never written")


def test_an_absence_that_is_settled_is_not_owed_though_the_cache_failed(a: Process, start: Start) -> None:
    """The absence is as new as the record's last write, so that a debt would grow with every read, and never be paid."""
    b = start(entries=0)
    assert b.store.get("k") == "v1"
    b.cache.cut_off()
    assert b.store.get("never written") is None and not b.owes("never written")
    a.cache.cut_off()
    a.store.delete("k")
    assert b.store.get("k") is None and b.owes("k")


@pytest.mark.parametrize("reason", [Reason.OTHER, Reason.BUSY])
def test_a_record_that_fails_here_alone_makes_nothing_old_believable(
    a: Process, start: Start, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    """No descriptor left, too many calls, a damaged page: others go on writing to the same record."""
    b = start(entries=0)
    assert b.store.get("k") == "v1"

    def fails(*_: object) -> None:
        raise StoreUnavailable("no descriptor left", tier="file", reason=reason)

    a.cache.cut_off()
    a.store.set("k", "v2")
    b.clock.advance(DELTA + 0.1)
    monkeypatch.setattr(b.record, "read", fails)
    with pytest.raises(StoreUnavailable):
        b.store.get("k")
