"""A journal of intents: a write is announced before the record makes it, and whatever becomes of its writer is found (R13)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.by_hand import Cache, Process, Server
from tests.unit.conftest import Start
from tests.waiting import LIMIT, started
from tiered import FileTier, MemoryTier, TieredBackend
from tiered.entry import MAX_VERSION, draft, is_tombstone, namespace_seed, version_of
from tiered.errors import Ambiguous, ConfigError, NotApplied, StoreUnavailable
from tiered.testing.chaos import FaultyRecord
from tiered.tiers import intent_tables as tables
from tiered.tiers.base import Commit, Mark, Write
from tiered.tiers.intent_changes import Applied, Waiting
from tiered.tiers.journaled import JournaledRecord

GRACE = 60.0


class Shared(MemoryTier):
    """A record that many processes share. A hook runs once, in the next commit."""

    def __init__(self) -> None:
        super().__init__(name="record")
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def commit(self, namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        before, after = self.before, self.after
        self.before = self.after = None
        if before is not None:
            before()
        commit = super().commit(namespace, writes, marks=marks, now=now)
        if after is not None:
            after()
        return commit

    def close(self) -> None:
        """Others use it still."""


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def a(start: Start, shared: Shared) -> Process:
    """Writes; what it wrote so far is in the cache and confirmed."""
    a = start(record=shared)
    a.store.set("k", "v1")
    a.record.journal.flush()
    return a


@pytest.fixture
def b(start: Start, a: Process, shared: Shared) -> Process:
    """Has read what `a` wrote, and looked."""
    b = start(record=shared)
    assert b.store.get("k") == "v1" and b.remembers("k") and not b.guard.owed
    b.look()
    return b


def intents(process: Process) -> list[Any]:
    found: list[Any] = process.record.journal._store.read(lambda db: db.execute("SELECT key FROM intents").fetchall())
    return [key for (key,) in found]


def pending(process: Process) -> list[Mark]:
    marks: list[Mark] = process.record.journal.pending("cache", limit=1000)
    return marks


def die(process: Process) -> None:
    """As if it had been killed: its lock is free, and what it had in mind is gone."""
    process.record.journal._store.writers.release()
    process.record.journal._store.waiting.take()


def fail(error: BaseException) -> Callable[[], object]:
    def hook() -> None:
        raise error

    return hook


def pass_grace(process: Process) -> None:
    """The first look sees the doubts, one after the time of grace ends them, the next ones replay."""
    process.clock.advance(2)
    process.look()
    process.clock.advance(GRACE + 1)
    process.look(3)


# While the record is asked


def test_a_write_is_announced_before_the_record_is_asked(a: Process, b: Process, shared: Shared) -> None:
    seen: list[Any] = []
    shared.before = lambda: seen.append((b.record.journal.intents(), a.record.journal.intents()))
    a.store.set("k", "v2")
    assert seen == [([("default", "k")], [])], "others must know; its own process does"
    a.record.journal.flush()
    assert intents(a) == [] and pending(b) == []


def test_what_others_announced_is_dropped_at_the_first_look_and_owed_at_the_second(
    a: Process, b: Process, shared: Shared
) -> None:
    b.cache.cut_off()  # so that it stays owed

    def looks() -> None:
        b.look()
        assert not b.remembers("k") and not b.owes("k")
        b.look()
        assert b.owes("k") and b.store.get("k") == "v1"

    shared.before = looks
    a.store.set("k", "v2")
    assert b.owes("k")
    assert b.store.namespace("default").get_many(["k"]) in ({"k": "v1"}, {"k": "v2"})


def test_each_look_meets_an_announcement_anew(a: Process, b: Process, shared: Shared) -> None:
    """However long the record takes: memory must not keep what was read before the write was made."""

    def looks() -> None:
        b.look(3)
        assert b.store.get("k") == "v1" and b.remembers("k")
        b.look()
        assert not b.remembers("k")

    shared.before = looks
    a.store.set("k", "v2")
    b.look()
    assert b.store.get("k") == "v2"


def test_a_look_keeps_what_is_under_way_out_of_memory(a: Process, b: Process, shared: Shared) -> None:
    """A read that began before it may have found what the announced write replaces."""
    b.store._core.chain.memory.empty(b.store._core.space.part)

    def write() -> None:
        shared.before = b.look
        a.store.set("k", "v2")

    b.cache.after_get = write
    assert b.store.get("k") in ("v1", "v2")
    assert b.store.get("k") == "v2"


def test_the_floor_of_an_announcement_does_not_stay(a: Process, b: Process, shared: Shared) -> None:
    """It is above everything, so each later read of the key that meets another would be done again, at the record."""
    shared.before = b.look
    a.store.set("k", "v2")
    flights = b.store._core.space.flights
    events = flights.events
    flights.reach("k", 5)
    assert flights.floor("k", events) == 5


def test_ones_own_announcement_is_nothing_new(a: Process, b: Process, shared: Shared) -> None:
    shared.before = lambda: a.look(3)
    a.store.set("k", "v2")
    assert a.remembers("k") and not a.owes("k")


def test_a_living_writers_intent_is_never_replayed(a: Process, b: Process, shared: Shared) -> None:
    """r13_replay: the write may still come, however long its process has been stopped."""

    def looks() -> None:
        for _ in range(5):
            b.clock.advance(GRACE)
            b.look()
        assert intents(b) == ["k"] and pending(b) == [] and b.owes("k")

    shared.before = looks
    a.cache.cut_off()
    a.store.set("k", "v2")
    assert [mark.key for mark in pending(a)] == ["k"]
    b.look(2)
    assert b.store.get("k") == "v2"


# What became of it


def test_a_write_that_did_not_happen_leaves_nothing(a: Process, b: Process, shared: Shared) -> None:
    shared.before = fail(NotApplied("no", tier="record"))
    with pytest.raises(NotApplied):
        a.store.set("k", "v2")
    assert a.store.add("k", "v2") is None
    a.record.journal.flush()
    assert intents(a) == [] and pending(a) == []
    assert a.store.get("k") == "v1"


@pytest.mark.parametrize("applied", [True, False])
def test_an_ambiguous_write_is_owed_everywhere_until_nothing_can_come_of_it(
    a: Process, b: Process, shared: Shared, applied: bool
) -> None:
    error = Ambiguous("who knows", tier="record")
    shared.before, shared.after = (None, fail(error)) if applied else (fail(error), None)
    with pytest.raises(Ambiguous):
        a.store.set("k", "v2")
    value = "v2" if applied else "v1"
    a.look()
    b.look(2)
    for process in (a, b):
        assert process.owes("k") and process.store.get("k") == value
    pass_grace(b)
    assert intents(b) == [] and pending(b) == []
    a.look(2)
    for process in (a, b):
        assert not process.owes("k") and process.store.get("k") == value
    assert version_of(a.held("k") or b"") == a.store.lookup("k").version


def test_what_a_record_applies_late_is_found(a: Process, b: Process, shared: Shared) -> None:
    kept: list[Sequence[Write]] = []
    real = shared.commit

    def lost(namespace: str, writes: Sequence[Write], *, marks: Sequence[str] = (), now: int) -> Commit:
        kept.append(writes)
        raise Ambiguous("no answer", tier="record")

    shared.commit = lost  # type: ignore[method-assign]  # the command is still on its way
    with pytest.raises(Ambiguous):
        a.store.set("k", "v2")
    del shared.commit  # type: ignore[method-assign]
    a.look()
    b.look(2)
    b.clock.advance(GRACE / 2)
    b.look(2)
    real("default", kept[0], now=b.clock.now())
    pass_grace(b)
    assert b.store.get("k") == "v2" and not b.owes("k")
    assert version_of(b.held("k") or b"") == b.store.lookup("k").version


def test_a_killed_writers_write_is_replayed_after_the_time_of_grace(a: Process, b: Process, shared: Shared) -> None:
    shared.after = fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        a.store.set("k", "v2")
    die(a)
    b.look(2)
    assert b.owes("k") and b.store.get("k") == "v2"
    pass_grace(b)
    assert not b.owes("k") and intents(b) == [] and b.store.get("k") == "v2"
    assert version_of(b.held("k") or b"") == b.store.lookup("k").version


def test_a_killed_writers_delete_is_replayed_as_a_tombstone(a: Process, b: Process, shared: Shared) -> None:
    shared.after = fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        a.store.delete("k")
    die(a)
    b.look(2)
    assert b.store.get("k") is None
    pass_grace(b)
    grave = b.held("k")
    assert grave is not None and is_tombstone(grave) and b.store.get("k") is None
    assert b.store.set("k", "v3").version > version_of(grave) and b.store.get("k") == "v3"


def test_who_comes_after_the_last_process_has_died_owes_what_it_left(a: Process, start: Start, shared: Shared) -> None:
    shared.after = fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        a.store.set("k", "v2")
    die(a)
    c = start(record=shared)
    assert c.store.get("k") == "v2" and c.owes("k")
    c.store.set("other", "x")
    assert c.record.journal._store.writers.number == 0, (
        "the number of the dead one, whose intents it must not keep alive"
    )
    pass_grace(c)
    assert not c.owes("k") and c.store.get("k") == "v2"


def test_writers_on_one_key_each_leave_their_own_intent(a: Process, b: Process, shared: Shared) -> None:
    """The one that is done must not clear what the other announced."""

    def overtaken() -> None:
        a.store.set("k", "v2")
        a.record.journal.flush()

    shared.before, shared.after = overtaken, fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        # The hook after it belongs to the outer commit: the inner one took none.
        b.store.set("k", "v3")
    die(b)
    a.look(2)
    assert a.store.get("k") == "v3" and a.owes("k")
    pass_grace(a)
    assert a.store.get("k") == "v3" and version_of(a.held("k") or b"") == a.store.lookup("k").version


def leave_a_doubt(a: Process, b: Process, shared: Shared) -> None:
    """Nobody knows of a's write of k, and the time in which it could still come is over."""
    shared.before = fail(Ambiguous("who knows", tier="record"))
    with pytest.raises(Ambiguous):
        a.store.set("k", "v2")
    a.look()
    for seconds in (2, GRACE + 1):
        b.clock.advance(seconds)
        b.record.journal.flush()


def test_a_clear_leaves_what_nobody_knows(a: Process, b: Process, shared: Shared) -> None:
    """A write in doubt may be one of the new generation."""
    leave_a_doubt(a, b, shared)
    a.cache.cut_off()
    a.store.set("other", 1)
    a.record.journal.flush()
    assert sorted(mark.key for mark in pending(b)) == ["k", "other"]
    b.store.clear()
    assert [(mark.key, mark.version) for mark in pending(b)] == [("k", MAX_VERSION)]


def test_a_write_beside_a_doubt_is_not_confirmed_with_it(a: Process, b: Process, shared: Shared) -> None:
    """R1: whoever replays the doubt has read the record before that write."""
    leave_a_doubt(a, b, shared)
    (doubt,) = pending(b)
    assert doubt.version == MAX_VERSION
    a.cache.cut_off()

    def overtaken() -> None:
        a.store.set("k", "v3")
        a.record.journal.flush()

    b.cache.before_put = overtaken
    b.store._core.service.keeper.replay(b.guard)
    assert [mark.key for mark in pending(b)] == ["k"]
    b.store._core.service.keeper.replay(b.guard)
    assert pending(b) == [] and b.store.get("k") == "v3"


# The journal's own limits and failures


def test_past_its_limit_a_new_generation_replaces_the_marks(start: Start, shared: Shared) -> None:
    a, b = start(record=shared, max_pending=10), start(record=shared, max_pending=10)
    a.store.set_many({f"k{n}": "old" for n in range(12)})
    assert b.store.get("k1") == "old"
    generation = a.store._core.space.generation
    a.cache.cut_off()
    a.store.set_many({f"k{n}": "new" for n in range(12)})
    a.record.journal.flush()
    b.clock.advance(2)
    b.record.journal.flush()
    assert pending(b) == [] and b.record.journal.adopted("cache") is None
    assert shared.generation("default") > generation
    b.look()
    assert not b.guard.breaker.closed
    b.readmit()
    assert b.guard.breaker.closed and b.record.journal.adopted("cache") == "run 1"
    assert b.store.get_many([f"k{n}" for n in range(12)]) == {f"k{n}": "new" for n in range(12)}


def test_a_tier_that_is_in_no_chain_any_more_costs_one_generation(start: Start, shared: Shared) -> None:
    """Removed, or called otherwise: it was given marks, and up again and again, and all other caches started anew with it."""
    a = start(record=shared, max_pending=10)
    a.record.journal.adopt("gone", "run 1")
    generations = []
    for round_ in range(4):
        a.store.set_many({f"k{round_}-{n}": "v" for n in range(12)})
        a.look()
        a.clock.advance(2)
        a.record.journal.flush()
        a.record.journal.flush()
        generations.append(shared.generation("default"))
    assert len(set(generations)) == 1 and a.record.journal.adopted("gone") is None
    assert a.record.journal.pending("gone", limit=100) == [] and a.record.journal.adopted("cache") == "run 1"


def test_a_tier_that_is_given_up_while_it_is_adopted_is_adopted_again(a: Process, shared: Shared) -> None:
    """What was written between the two left no mark, and would be missing in the tier."""
    journal, bump, bumps = a.record.journal, shared.bump, []

    def given_up_meanwhile() -> None:
        bump()
        bumps.append(shared.generation("default"))
        if len(bumps) == 1:
            since = journal._store.write(lambda db: tables.unbelieve(db, "other"))
            journal._store.write(lambda db: tables.abandon(db, "other", since, 2**62))
            journal._store.write(lambda db: tables.unbelieve(db, "other"))  # and another process begins to adopt it

    shared.bump = given_up_meanwhile  # type: ignore[method-assign]
    assert journal.adopt("other", "run 1") and journal.adopted("other") == "run 1"
    assert len(bumps) == 2 and bumps[0] < bumps[1]


def test_giving_marks_up_leaves_what_is_under_way(start: Start, shared: Shared) -> None:
    """A write that ends after the new generation was begun may be missing in it."""
    a, b = start(record=shared, max_pending=10), start(record=shared, max_pending=10)
    a.cache.cut_off()
    a.store.set_many({f"k{n}": "v1" for n in range(12)})
    a.record.journal.flush()

    def gives_up() -> None:
        b.clock.advance(2)
        b.record.journal.flush()
        assert b.record.journal.adopted("cache") is None

    shared.before = gives_up
    a.store.set("late", "v1")
    assert [mark.key for mark in pending(a)] == ["late"]


def test_too_many_doubts_refuse_writes_until_they_have_ended(start: Start, shared: Shared) -> None:
    a = start(record=shared, max_pending=3)
    assert a.store.get("k") is None
    for n in range(5):
        shared.before = fail(Ambiguous("who knows", tier="record"))
        with pytest.raises(Ambiguous):
            a.store.set(f"k{n}", "v")
    a.record.journal.flush()
    a.clock.advance(2)
    a.look()
    with pytest.raises(NotApplied, match="wait until it is well again"):
        a.store.set("k", "v")
    pass_grace(a)
    assert a.store.set("k", "v").version and a.store.get("k") == "v"


def test_without_a_durable_intent_the_record_is_not_asked(a: Process, shared: Shared, tmp_path: Path) -> None:
    asked: list[int] = []
    shared.before = lambda: asked.append(1)
    a.record.journal._store.close()
    with pytest.raises(NotApplied) as caught:
        a.store.set("k", "v2")
    assert caught.value.tier == "record" and asked == []
    with pytest.raises(StoreUnavailable):
        a.record.journal.intents()
    health = a.record.health()
    assert not health.ok and "journal" in health.detail


@pytest.mark.parametrize("step", ["the identity", "bind", "abandon_writer"])
def test_a_write_before_which_something_else_is_in_doubt_is_certainly_not_made(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    who_knows = fail(Ambiguous("who knows", tier="record"))
    record = JournaledRecord(shared, tmp_path)
    write = Write("k", draft(namespace_seed("n"), "k", b"v", 1))
    with monkeypatch.context() as patch:
        if step == "the identity":
            shared.before = who_knows
        else:
            patch.setattr(tables, step, lambda *_: who_knows())
        with pytest.raises(NotApplied, match=r"^record: nothing was written: who knows$"):
            record.commit("n", [write], now=0)
    assert shared.read("n", "k")[1] is None
    assert record.commit("n", [write], now=0).written[0].version and shared.read("n", "k")[1] is not None
    record.close()


def test_changes_that_could_not_be_written_are_not_lost() -> None:
    waiting = Waiting()
    waiting.applied(("n", "k", 5), Applied(1, 7, ["cache"]))
    waiting.over([2])
    taken = waiting.take()
    assert not waiting
    mark = Mark("cache", "n", "k", 5, 7)
    waiting.confirmed([mark])
    waiting.doubtful([3])
    waiting.give_back(taken)
    changes = waiting.take()
    assert list(changes.applied) == [("n", "k", 5)] and changes.over == [2] and changes.doubtful == [3]
    assert list(changes.confirmed) == [mark]


def test_writes_of_many_threads_end_as_nothing(a: Process, b: Process) -> None:
    def work(thread: int) -> None:
        for n in range(40):
            a.store.set(f"k{n % 8}", [thread, n])

    for future in [started(lambda thread=thread: work(thread)) for thread in range(6)]:
        future.result(LIMIT)
    a.record.journal.flush()
    assert intents(a) == [] and pending(a) == []
    for n in range(8):
        frame = a.held(f"k{n}")
        assert frame is not None and version_of(frame) == a.store.lookup(f"k{n}").version


# Whose it is, and where


def test_a_journal_belongs_to_one_record(a: Process, start: Start) -> None:
    other = start(record=Shared())
    with pytest.raises(ConfigError, match="journal of another store of record"):
        other.store.set("k", "v")


def test_journals_of_one_record_have_its_identity(shared: Shared, tmp_path: Path) -> None:
    """Two hosts with journals of their own share the namespaces of a cache."""
    one, two = JournaledRecord(shared, tmp_path / "one"), JournaledRecord(shared, tmp_path / "two")
    assert one.journal is not None and two.journal is not None
    assert one.journal.identity == two.journal.identity
    one.close()
    two.close()


def test_a_directory_is_a_store_or_a_journal(tmp_path: Path) -> None:
    FileTier(tmp_path / "store").close()
    JournaledRecord(MemoryTier(), tmp_path / "journal").close()
    with pytest.raises(ConfigError, match="the store of a file tier"):
        JournaledRecord(MemoryTier(), tmp_path / "store")
    with pytest.raises(ConfigError, match="another program's database"):
        FileTier(tmp_path / "journal")
    FileTier(tmp_path / "store").close()


def test_a_journal_that_makes_no_sense_is_refused(tmp_path: Path, server: Server) -> None:
    record, directory = FileTier(tmp_path / "store"), tmp_path / "journal"
    with pytest.raises(ConfigError, match="a journal of its own"):
        TieredBackend([Cache(server), record], journal=directory)
    record.close()
    with pytest.raises(ConfigError, match="there are none"):
        TieredBackend([MemoryTier(), FaultyRecord(Shared())], journal=directory)
    for wrong in ({"lease_ttl": 0}, {"load_patience": 0}, {"namespace": "a:b"}, {"staleness": 0}):
        with pytest.raises(ConfigError):
            TieredBackend([Cache(server), FaultyRecord(Shared())], journal=directory, **wrong)
    assert not directory.exists()


def test_without_a_journal_the_log_says_what_a_crash_may_cost(
    server: Server, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    TieredBackend([Cache(server), FaultyRecord(Shared())]).close()
    assert [it.levelname for it in caplog.records] == ["WARNING"] and "give journal=" in caplog.text
    caplog.clear()
    TieredBackend([Cache(server), JournaledRecord(Shared(), tmp_path)]).close()
    TieredBackend([Shared()]).close()
    assert caplog.records == []


# Forks


def test_a_forked_child_has_a_number_of_its_own_and_leaves_the_parents(a: Process, b: Process, shared: Shared) -> None:
    mine = a.record.journal._store.writers.number
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            a.record.commit("default", [], now=0)
            a.store.set("k", "of the child")
            number = a.record.journal._store.writers.number
            with b.record.journal._store.writers.vacant(mine) as vacant:
                os.write(writing, f"{number} {vacant}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        number, vacant = pipe.read().split()
    os.waitpid(child, 0)
    assert int(number) not in (-1, mine) and vacant == b"False"
    with b.record.journal._store.writers.vacant(mine) as free:
        assert not free
    with b.record.journal._store.writers.vacant(int(number)) as free:
        assert free
