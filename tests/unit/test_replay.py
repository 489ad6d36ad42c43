"""Replay: what the cache has not confirmed is put there, by one, and nothing is forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.by_hand import Cache, Process, Server
from tests.contract.test_reference import DictRecord
from tests.unit.conftest import Start
from tiered import MemoryTier, TieredBackend
from tiered.entry import MAX_VERSION, draft, is_tombstone, version_of
from tiered.errors import StoreError
from tiered.replication.replay import PATIENCE
from tiered.testing.contract import put
from tiered.tiers.base import Absence, Commit, Journal, Write, Written


@pytest.fixture
def a(start: Start) -> Process:
    """Cut off from the cache, which has an older k."""
    a = start()
    a.store.set_many({"k": "v1", "gone": "v1"})
    a.record.journal.flush()
    a.cache.cut_off()
    return a


@pytest.fixture
def b(start: Start, a: Process) -> Process:
    """Reaches the cache; nothing is pending or owed yet."""
    b = start(entries=0)
    assert b.store.get_many(["k", "gone"]) == {"k": "v1", "gone": "v1"}
    return b


def replay(process: Process) -> int:
    return process.store._core.service.keeper.replay(process.guard)


def pending(process: Process) -> list[str]:
    return [mark.key for mark in process.record.journal.pending("cache", limit=10_000)]


def test_a_present_entry_is_put_as_it_is_and_its_mark_cleared(a: Process, b: Process) -> None:
    version = a.store.set("k", "v2").version
    assert replay(b) == 1
    assert version_of(b.held("k") or b"") == version
    assert pending(a) == [] and b.store.lookup("k").value == "v2"


def test_an_absence_is_put_as_a_tombstone_of_its_version(a: Process, b: Process) -> None:
    """R16: it wins over what the cache holds and whatever was promoted of it, and loses against the next write."""
    old = b.held("gone")
    assert old is not None and not is_tombstone(old)
    a.store.delete("gone")
    (absence,) = a.record.journal.absences("default", ["gone"])[1]
    assert isinstance(absence, Absence) and absence.version > version_of(old)
    assert replay(b) == 1
    grave = b.held("gone")
    assert grave is not None and is_tombstone(grave) and version_of(grave) == absence.version
    assert not put(b.cache, b.store._core.space.scope, "gone", old)
    assert b.store.get("gone") is None and b.cache.gets[-1] == "gone"
    assert b.store.set("gone", "again").version > absence.version and b.store.get("gone") == "again"


def test_an_expired_entry_is_put_too_and_reads_as_absent(a: Process, b: Process) -> None:
    version = a.store.set("k", "short", ttl=5).version
    a.clock.advance(6)
    assert replay(b) == 1
    assert version_of(b.held("k") or b"") == version
    assert b.store.get("k") is None


def test_only_the_holder_replays(a: Process, b: Process, start: Start) -> None:
    a.store.set("k", "v2")
    b.guard.owe("default", "k", MAX_VERSION)
    with start().record.journal.replaying("cache") as held:
        assert held
        assert replay(b) == 0
        assert b.cache.puts == [] and pending(a) == ["k"]
        assert b.owes("k"), "it has a mark, so nobody says that the cache has it"
        assert b.store.get("k") == "v2"
    assert replay(b) == 1 and not b.owes("k") and b.store.get("k") == "v2"


def test_convergence_though_the_holder_was_stopped(a: Process, b: Process, start: Start) -> None:
    """It keeps the right to replay for as long as it stands still."""
    a.store.set("k", "v2")
    b.guard.owe("default", "k", MAX_VERSION)
    with start().record.journal.replaying("cache"):
        assert replay(b) == 0
        b.clock.advance(PATIENCE)
        assert replay(b) == 1 and pending(a) == [] and not b.owes("k")
        b.guard.owe("default", "k", MAX_VERSION)
        assert replay(b) == 0, "it waits again before it does another's work"


def test_convergence_where_the_system_gives_no_lock(a: Process, b: Process) -> None:
    a.store.set("k", "v2")
    b.guard.owe("default", "k", MAX_VERSION)
    with b.record.journal.replaying("cache") as mine:
        assert mine
    (lock,) = b.record.directory.glob("replay-*.lock")
    lock.unlink()
    lock.mkdir()  # whoever opens it gets an OSError
    assert replay(b) == 1 and pending(a) == [] and not b.owes("k")


def test_a_debt_without_a_mark_is_settled_without_a_put(a: Process, b: Process) -> None:
    """Each write is marked until the cache has accepted it, or something newer."""
    b.guard.owe("default", "k", 1)
    assert replay(b) == 0
    assert not b.guard.owed and b.cache.puts == []


def test_a_debt_that_is_added_meanwhile_stays(a: Process, b: Process) -> None:
    """R12 (r12_doubt): this one is of a write that the replay has not seen."""
    version = a.store.set("k", "v2").version
    b.guard.owe("default", "k", version)
    b.cache.before_put = lambda: b.guard.owe("default", "k", version + 1)
    replay(b)
    assert b.owes("k")


def test_a_mark_that_is_replaced_meanwhile_stays(a: Process, b: Process) -> None:
    """R1: what was put is not what is pending now."""
    a.store.set("k", "v2")
    b.cache.before_put = lambda: a.store.set("k", "v3")
    assert replay(b) == 1
    assert pending(a) == ["k"]
    assert replay(b) == 1 and b.store.get("k") == "v3" and pending(a) == []


def test_an_old_entry_that_is_late_is_refused_by_the_cache(a: Process, b: Process, start: Start) -> None:
    c = start()
    c.store.get("k")
    a.store.set("k", "v2")
    b.cache.before_put = lambda: c.store.set("k", "v3")
    replay(b)
    assert b.store.get("k") == "v3"


def test_a_cache_that_fails_is_told_from_a_record_and_leaves_marks_and_debts(a: Process, b: Process) -> None:
    version = a.store.set("k", "v2").version
    b.guard.owe("default", "k", version)
    b.cache.cut_off()
    with pytest.raises(StoreError) as caught:
        replay(b)
    assert caught.value.tier == "cache"
    assert pending(a) == ["k"] and b.owes("k")


def test_a_long_journal_is_replayed_in_pages(a: Process, b: Process) -> None:
    a.store.set_many({f"k{n}": n for n in range(1200)})
    assert replay(b) == 1200 and pending(a) == []
    assert b.store.get_many([f"k{n}" for n in range(1200)]) == {f"k{n}": n for n in range(1200)}


def test_marks_of_every_namespace_go_into_its_present_generation(a: Process, b: Process) -> None:
    other = a.store.namespace("other")
    other.set("k", "before")
    other.clear()
    other.set("k", "after")
    assert replay(b) == 1
    view = b.store.namespace("other")
    assert view.lookup("k").tier == "cache" and view.get("k") == "after"


# A record without a journal


class Bare(DictRecord):
    """Has no journal, and nobody knows since when it has nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: Journal | None = None  # type: ignore[assignment]  # that is the difference
        self.dates_absences = True
        self.before_commit: Callable[[Sequence[Write]], None] | None = None

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        if self.before_commit is not None:
            self.before_commit(writes)
        if not self.dates_absences and any(write.expect == 0 and write.draft.tombstone for write in writes):
            return Commit(self.generation(namespace), [Written(0, b"", False) for _ in writes])
        return super().commit(namespace, writes, marks=marks, now=now)


def test_without_a_journal_debts_are_paid_from_the_record(server: Server) -> None:
    cache = Cache(server)
    with TieredBackend([cache, Bare()], clock=server.clock) as store:
        store._core.service.keeper._stop.set()
        store.set("k", "v1")
        cache.cut_off()
        store.set("k", "v2")
        cache.reconnect()
        (guard,) = store._core.chain.guards
        assert store._core.service.keeper.replay(guard) == 1
        assert not guard.owed and store.lookup("k") == store.lookup("k")._replace(value="v2", tier="cache")


@pytest.fixture
def unpaid(server: Server) -> Iterator[tuple[TieredBackend, Cache, Bare]]:
    """The cache has k, the record has not, and the cache owes it."""
    cache, record = Cache(server), Bare()
    with TieredBackend([cache, record], clock=server.clock) as store:
        store._core.service.keeper._stop.set()
        store.set("k", "v1")
        cache.cut_off()
        record.entries["default"].clear()
        assert store.get("k") is None
        cache.reconnect()
        yield store, cache, record


def test_an_absence_without_a_version_gets_one_from_the_record(unpaid: tuple[TieredBackend, Cache, Bare]) -> None:
    """R16: the record says on the condition that there is still nothing."""
    store, cache, record = unpaid
    (guard,) = store._core.chain.guards
    store._core.service.keeper.look()
    store._core.service.keeper.look()
    assert guard.breaker.closed and not guard.owed
    grave = cache.server.memory.get(store._core.space.scope, "k")
    assert grave is not None and is_tombstone(grave) and version_of(grave) == record.version
    assert store.lookup("k").tier == "cache" and store.get("k") is None
    assert store.set("k", "again").version > version_of(grave) and store.get("k") == "again"


def test_what_is_written_while_an_absence_gets_its_version_is_put_instead(
    unpaid: tuple[TieredBackend, Cache, Bare],
) -> None:
    store, _, record = unpaid
    (guard,) = store._core.chain.guards

    def first(writes: Sequence[Write]) -> None:
        record.before_commit = None
        record.commit(
            "default",
            [
                Write(
                    "k",
                    draft(
                        store._core.space.frames.seed,
                        "k",
                        store._core.chain.codec.encode("v2"),
                        store._core.chain.codec.id,
                    ),
                )
            ],
            now=0,
        )

    record.before_commit = first
    assert store._core.service.keeper.replay(guard) == 1
    assert not guard.owed and store.lookup("k") == store.lookup("k")._replace(value="v2", tier="cache")


def test_without_a_version_for_an_absence_the_cache_needs_a_new_generation(
    unpaid: tuple[TieredBackend, Cache, Bare], server: Server
) -> None:
    store, _, record = unpaid
    (guard,) = store._core.chain.guards
    record.dates_absences = False
    generation = store._core.space.generation
    store._core.service.keeper.look()
    store._core.service.keeper.look()
    assert not guard.breaker.closed and guard.owed.lost
    server.clock.advance(60)
    store._core.service.keeper.look()
    assert guard.breaker.closed and store._core.space.generation > generation
    assert store.get("k") is None


def test_an_absence_without_a_version_overtakes_the_reads_under_way(server: Server) -> None:
    """R16, R2: one that the cache answered before must not return after it."""
    cache, record = Cache(server), Bare()
    with TieredBackend([MemoryTier(), cache, record], clock=server.clock) as store:
        store._core.service.keeper._stop.set()
        store.set("k", "v1")
        store._core.chain.memory.empty(store._core.space.part)

        def meanwhile() -> None:
            cache.cut_off()
            record.entries["default"].clear()
            assert store.get_many(["k"]) == {}

        cache.after_get = meanwhile
        assert store.get("k") is None
        assert store.get("k") is None
