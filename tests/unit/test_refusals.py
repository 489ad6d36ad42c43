"""What a cache does not take, though it takes other entries, keeps it from no other key and is owed until it does."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.by_hand import Cache, Process, Server
from tests.unit.conftest import Start
from tests.unit.test_replay import Bare, pending, replay
from tiered import MemoryTier, TieredBackend
from tiered.entry import MAX_VERSION
from tiered.errors import NotApplied, Reason, StoreError
from tiered.replication import replay as replay_module
from tiered.replication.refusals import FIRST_PAUSE, LONGEST_PAUSE, NAMED, NAMED_WITHIN
from tiered.replication.replay import SET_ASIDE

LARGE = b"x" * 100_000
MOST = 50_000


def narrow(process: Process) -> Process:
    """Its cache takes nothing large."""
    process.cache.most = MOST
    return process


@pytest.fixture
def a(start: Start) -> Process:
    a = narrow(start(entries=0))
    a.store.set_many({"large": "old", "small": "old"})
    a.record.journal.flush()
    return a


@pytest.fixture
def b(start: Start, a: Process) -> Process:
    b = narrow(start(entries=0))
    assert b.store.get_many(["large", "small"]) == {"large": "old", "small": "old"}
    return b


@pytest.fixture
def tries(a: Process) -> Callable[[], int]:
    """How often the large entry was offered."""
    count, put = [0], a.cache.put_many

    def counting(scope: str, items: list[tuple[str, bytes]], **options: object) -> list[bool]:
        count[0] += any(len(frame) > MOST for _, frame in items)
        return put(scope, items, **options)

    a.cache.put_many = counting  # type: ignore[method-assign, assignment]  # it looks on
    return lambda: count[0]


def set_aside(process: Process) -> list[str]:
    return [refusal.key for refusal in process.guard.refusals.all()]


def test_an_entry_that_is_not_taken_keeps_no_other_out(a: Process, b: Process) -> None:
    a.guard.breaker.trip()
    a.store.set("large", LARGE)
    a.store.set_many({f"k{n}": n for n in range(600)})
    a.store.set("small", "new")
    a.readmit()
    assert a.guard.breaker.closed
    assert a.store.lookup("small").tier == a.store.lookup("k599").tier == "cache"
    assert a.store.lookup("large").tier == "file" and a.store.get("large") == LARGE
    assert pending(a) == ["large"] and a.owes("large") and not a.owes("small")
    b.look(2)
    assert b.owes("large") and b.store.get("large") == LARGE, "other processes know by its mark"


def test_what_was_pending_only_once_is_owed_when_it_is_set_aside(a: Process, b: Process) -> None:
    """R9, R12: nobody has to look a second time to know it."""
    b.guard.breaker.trip()
    a.guard.breaker.trip()
    a.store.set("large", LARGE)
    assert not b.owes("large")
    b.clock.advance(60)
    b.look()
    assert b.guard.breaker.closed and b.owes("large") and set_aside(b) == ["large"]
    assert b.store.get("large") == LARGE


def test_it_is_tried_again_after_pauses_that_double(a: Process, tries: Callable[[], int]) -> None:
    a.store.set("large", LARGE)
    a.look(2)
    before = tries()
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE):
        a.clock.advance(0.9 * pause)
        a.look(3)
        assert tries() == before
        a.clock.advance(0.2 * pause)
        a.look(3)
        before += 1
        assert tries() == before
    for _ in range(20):
        a.clock.advance(LONGEST_PAUSE + 1)
        a.look()
        before += 1
        assert tries() == before, "it is never given up"


def test_it_is_taken_when_there_is_room(a: Process) -> None:
    a.store.set("large", LARGE)
    a.look(2)
    assert set_aside(a) == ["large"]
    a.cache.most = 2 * len(LARGE)
    a.clock.advance(FIRST_PAUSE)
    a.look(2)
    assert set_aside(a) == [] and pending(a) == [] and not a.owes("large")
    assert a.store.lookup("large").tier == "cache"


@pytest.mark.parametrize("is_open", [False, True])
def test_what_replaces_it_does_not_wait(a: Process, is_open: bool) -> None:
    a.store.set("large", LARGE)
    a.look(2)
    if is_open:
        a.guard.breaker.trip()
    a.store.set("large", "small")
    a.clock.advance(FIRST_PAUSE / 2)
    a.look(2)
    assert a.guard.breaker.closed and a.store.lookup("large").tier == "cache"
    assert set_aside(a) == [] and pending(a) == []


def test_what_another_process_replaces_does_not_wait(a: Process, b: Process) -> None:
    a.store.set("large", LARGE)
    a.look(2)
    b.store.set("large", "small")
    b.look()
    a.look()
    assert not a.owes("large") and set_aside(a) == [] and a.store.lookup("large").tier == "cache"


def test_a_replay_by_hand_does_not_wait(a: Process) -> None:
    a.store.set("large", LARGE)
    a.look(2)
    a.cache.most = 2 * len(LARGE)
    assert replay(a) == 1 and pending(a) == []


def test_a_cache_that_takes_nothing_stays_out_of_service(a: Process) -> None:
    a.guard.breaker.trip()
    a.store.set_many({"large": LARGE, "small": "new"})

    def full(*_: object, **__: object) -> list[bool]:
        raise NotApplied("full", tier="cache", reason=Reason.FULL)

    a.cache.put_many = full  # type: ignore[method-assign]  # whatever it is given
    a.readmit()
    assert not a.guard.breaker.closed and set_aside(a) == []
    with pytest.raises(StoreError, match="full"):
        replay(a)


@pytest.mark.parametrize("pages", [False, True])
def test_however_many_are_not_taken_they_keep_the_cache_from_nothing_else(
    a: Process, tries: Callable[[], int], monkeypatch: pytest.MonkeyPatch, pages: bool
) -> None:
    """Each may cost a timeout, and meanwhile nobody looks at the record: a few at a time. The others are owed all the same (R12)."""
    monkeypatch.setattr(replay_module, "BATCH", 7 if pages else 500)
    a.guard.breaker.trip()
    a.store.set_many({f"k{n}": "old" for n in range(200)})
    a.readmit()
    a.guard.breaker.trip()
    a.store.set_many({f"k{n}": LARGE for n in range(200)})
    a.store.set_many({f"s{n}": "new" for n in range(20)})
    for _ in range(100):
        before = tries()
        a.clock.advance(2.1)
        a.look()
        assert a.guard.breaker.closed and tries() <= before + 2 * SET_ASIDE
        assert all(a.store.get(f"k{n}") == LARGE for n in range(0, 200, 33)), "and none is read there"
    assert len(set_aside(a)) == 200 and a.guard.breaker.transitions["open"] == 2
    a.look()
    assert {a.store.lookup(f"s{n}").tier for n in range(20)} == {"cache"}


def test_the_log_names_it_once(a: Process, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        a.store.set("large", LARGE)
        for _ in range(5):
            a.clock.advance(LONGEST_PAUSE)
            a.look()
    (told,) = [record for record in caplog.records if getattr(record, "tiered_event", "") == "set_aside"]
    assert "'large' of namespace default (100" in told.getMessage() and "no answer in time" in told.getMessage()
    assert a.store.stats()["tiers"]["cache"]["replays_failed"] == 4


def test_of_many_the_log_names_ten_a_minute(a: Process, caplog: pytest.LogCaptureFixture) -> None:
    """As with one full master of a cluster, which takes none of its keys, and each write of one is another that it does not take."""

    def told() -> int:
        return sum(getattr(record, "tiered_event", "") == "set_aside" for record in caplog.records)

    with caplog.at_level(logging.WARNING):
        a.store.set_many({f"k{n}": LARGE for n in range(200)})
        for _ in range(8):
            a.clock.advance(2.1)
            a.look()
        assert len(set_aside(a)) > 2 * NAMED and told() == NAMED
        a.clock.advance(NAMED_WITHIN)
        for _ in range(20):  # those that are known are tried first
            a.clock.advance(2.1)
            a.look()
        assert told() == 2 * NAMED


def test_health_names_it(a: Process) -> None:
    assert a.store.health()["cache"]["refused"] == []
    a.store.set("large", LARGE)
    a.look(2)
    state = a.store.health()["cache"]
    (refused,) = state["refused"]
    assert refused["namespace"] == "default" and refused["key"] == "large" and refused["bytes"] > len(LARGE)
    assert "'large' in namespace default" in state["detail"] and "no answer in time" in state["detail"]
    assert state["ok"] and state["owed"] == 1


def test_nothing_is_tried_all_the_time_where_the_cache_is_fed(start: Start) -> None:
    a = narrow(start(feed="journal"))
    feeder = a.store._core.service.feeder
    assert feeder is not None
    feeder.stop()
    a.store.set_many({"large": LARGE, "small": 1})
    assert feeder.feed(), "else it would go round without a pause"
    assert pending(a) == ["large"] and a.held("small")


def test_a_debt_in_doubt_waits_too(a: Process, tries: Callable[[], int]) -> None:
    """Nobody knows its version, and each look may owe it anew."""
    a.store.set("large", LARGE)
    a.look(2)
    before = tries()
    for _ in range(3):
        a.guard.owe("default", "large", MAX_VERSION)
        a.look()
    assert tries() == before


def test_without_a_journal_it_stays_owed(server: Server) -> None:
    cache = Cache(server)
    cache.most = MOST
    with TieredBackend([MemoryTier(max_entries=0), cache, Bare()], clock=server.clock) as store:
        store._core.service.keeper._stop.set()
        store.set_many({"large": LARGE, "small": 1})
        store._core.service.keeper.look()
        store._core.service.keeper.look()
        (guard,) = store._core.chain.guards
        assert [debt.key for debt in guard.owed.debts()] == ["large"]
        assert store.get("large") == LARGE and store.lookup("small").tier == "cache"


def test_large_writes_that_are_not_taken_do_not_open_the_breaker(a: Process) -> None:
    for n in range(50):
        assert a.store.set("large", [n, LARGE]).tiers["cache"] == "queued"
        if n % 10 == 0:
            a.look()
    assert a.guard.breaker.closed and a.store.set("small", "new").tiers["cache"] == "ok"


def test_a_cache_that_is_away_is_noticed_though_all_writes_are_large(a: Process) -> None:
    """Their failures say nothing; that the keeper cannot put anything small then, does."""
    a.cache.cut_off()
    for n in range(6):  # at the first look the write is just under way
        assert a.store.set("large", [n, LARGE]).tiers["cache"] == "queued"
        a.look()
    assert not a.guard.breaker.closed and set_aside(a) == []


def test_many_small_writes_at_once_do_open_it(a: Process) -> None:
    a.cache.cut_off()
    for n in range(5):
        a.store.set_many({f"k{i}": f"{n:500}" for i in range(500)})
    assert not a.guard.breaker.closed
