"""The keeper: whom it believes, whom it takes out of service, and when it lets them in again."""

from __future__ import annotations

import itertools
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.by_hand import Process, Server
from tests.unit.conftest import Start
from tests.waiting import LIMIT, eventually, started
from tiered.entry import MAX_VERSION
from tiered.errors import ConfigError, NotApplied, Reason, StoreUnavailable
from tiered.replication.breaker import State
from tiered.replication.guard import UNANSWERED
from tiered.replication.keeper import CLAIMS
from tiered.testing.contract import put


@pytest.fixture
def a(start: Start) -> Process:
    a = start()
    a.store.set("k", "v1")
    a.record.journal.flush()
    return a


@pytest.fixture
def b(start: Start, a: Process) -> Process:
    """Nothing but the cache and the record to read from."""
    b = start(entries=0)
    assert b.store.lookup("k").tier == "cache"
    return b


# The beginning


class Arrivals:
    """A lock that counts who has come to it."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock, self.count = lock, 0

    def __enter__(self) -> None:
        self.count += 1
        self._lock.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)


def test_who_comes_while_the_record_is_asked_first_shares_the_outcome(start: Start) -> None:
    """And does not wait for one attempt more with every caller before."""
    b, answer, asked = start(), threading.Event(), list[str]()

    def down(tier: str) -> str | None:
        asked.append(tier)
        assert answer.wait(LIMIT)
        raise StoreUnavailable("timed out", tier="file", reason=Reason.TIMEOUT)

    keeper: Any = b.store._core.service.keeper
    keeper._lock = arrivals = Arrivals(keeper._lock)
    journal, b.record.journal.adopted = b.record.journal, down
    callers = [started(lambda: b.store.get("k")) for _ in range(4)]
    callers += [started(lambda: b.store.set("k", "v")) for _ in range(4)]
    eventually(lambda: arrivals.count == 8)
    answer.set()
    errors = [it.exception(LIMIT) for it in callers]
    assert len(asked) == 1
    assert {type(it) for it in errors[:4]} == {StoreUnavailable} and {type(it) for it in errors[4:]} == {NotApplied}
    assert len({id(it) for it in errors}) == 8 and all("file: " in str(it) for it in errors)
    with pytest.raises(StoreUnavailable, match="timed out"):
        b.store.get("k")
    assert len(asked) == 2  # who comes later tries for himself
    del journal.adopted
    assert b.store.get("k") is None and b.store.set("k", "v")


# In and out of service


def test_a_cache_that_cannot_be_met_is_out_of_service_from_the_start(start: Start, a: Process) -> None:
    b = start()
    b.cache.cut_off()
    assert b.store.get("k") == "v1" and not b.guard.breaker.closed
    assert b.store.set("k", "v2").tiers["cache"] == "queued"
    b.readmit()
    assert not b.guard.breaker.closed  # still cut off
    b.cache.reconnect()
    b.readmit()
    assert b.guard.breaker.closed and b.store.lookup("k").value == "v2"


def test_nothing_is_read_from_a_cache_before_what_it_lacks_was_replayed(a: Process, b: Process) -> None:
    a.cache.cut_off()
    b.guard.breaker.trip()
    a.store.set("k", "v2")
    seen: list[object] = []
    b.cache.before_put = lambda: seen.append((b.guard.breaker.closed, b.store.get("k")))
    b.cache.gets.clear()
    b.readmit()
    assert seen == [(False, "v2")] and b.cache.gets == []
    found = b.store.lookup("k")
    assert b.guard.breaker.closed and (found.tier, found.value) == ("cache", "v2")


def test_the_probe_and_not_the_clock_closes_the_breaker(a: Process, b: Process) -> None:
    b.guard.breaker.trip()
    b.clock.advance(3600)
    assert b.store.lookup("k").tier == "file" and not b.guard.breaker.closed
    b.look()
    assert b.guard.breaker.closed


def test_convergence_after_a_probe_that_ended_in_an_error_of_no_known_kind(a: Process, b: Process) -> None:
    """Half-open for ever, it would never be probed again."""

    def failing() -> None:
        raise RuntimeError("of a third party's tier")

    b.guard.breaker.trip()
    b.cache.before_probe = failing
    b.clock.advance(60)
    with pytest.raises(RuntimeError):
        b.look()
    assert b.guard.breaker.state is State.OPEN
    b.readmit()
    assert b.guard.breaker.closed


def test_debts_that_could_not_be_counted_end_with_a_new_generation(a: Process, b: Process) -> None:
    b.guard.owed.limit = 3
    generation = b.store._core.space.generation
    b.guard.owe_many("default", [(f"k{n}", MAX_VERSION) for n in range(9)])
    assert not b.guard.breaker.closed
    b.readmit()
    assert b.guard.breaker.closed and not b.guard.owed
    assert b.store._core.space.generation > generation and b.store.get("k") == "v1"


def test_a_look_asks_for_the_generations_of_all_namespaces_at_once(start: Start) -> None:
    """And empties those that another process has cleared."""
    a, b = start(), start()
    stores = [a.store.namespace(f"n{n}") for n in range(300)]
    for store in stores:
        store.get("absent")
    stores[7].set("k", 1), stores[8].set("k", 1)
    b.store.namespace("n7").clear()
    single, together = a.record.generation, a.record.generation_many
    asked = list[int]()
    a.record.generation = lambda _: asked.append(1)
    a.record.generation_many = lambda names: (asked.append(len(names)), together(names))[1]
    a.look()
    assert asked == [300]
    a.record.generation = single
    assert [("k" in store._core.space.part.slots) for store in stores[6:9]] == [False, False, True]
    assert "k" not in stores[7] and "k" in stores[8]


# Which data are believed


def test_belief_is_raised_before_another_run_can_be_reached(a: Process, b: Process) -> None:
    """R15 (r15_build): whatever is on its way then was built for the run before."""
    b.guard.breaker.trip()
    before, beliefs = b.guard.belief, list[int]()
    b.cache.before_probe = lambda: beliefs.append(b.guard.belief)
    b.readmit()
    assert beliefs == [before + 1]


def test_an_answer_to_an_older_belief_is_none(a: Process, b: Process) -> None:
    b.cache.after_get = lambda: setattr(b.guard, "belief", b.guard.belief + 1)
    assert b.guard.get(b.store._core.space, "k") is UNANSWERED
    assert isinstance(b.guard.get(b.store._core.space, "k"), bytes)
    b.cache.after_get = lambda: setattr(b.guard, "belief", b.guard.belief + 1)
    assert b.guard.get_many(b.store._core.space, ["k", "other"]) == [UNANSWERED, UNANSWERED]
    assert b.guard.get_many(b.store._core.space, ["other"]) == [None]


def test_a_read_that_a_restart_with_old_data_overtakes_is_not_believed(a: Process, b: Process) -> None:
    def meanwhile() -> None:
        a.store.set("k", "v2")
        b.cache.server.run = "run 2"  # came back with what `b` has just read
        b.guard.breaker.trip()
        b.readmit()

    b.cache.after_get = meanwhile
    assert b.store.get("k") == "v2"


def test_another_run_gets_a_new_generation_once_and_trips_everybody_else(
    a: Process, b: Process, server: Server
) -> None:
    """r15_recorded: whom the record has adopted is what all of them believe, or nobody."""
    generation = a.store._core.space.generation
    server.run = "run 2"
    a.guard.breaker.trip()
    a.readmit()
    assert a.guard.breaker.closed and a.store._core.space.generation == generation + 1
    b.look()
    assert not b.guard.breaker.closed and b.store._core.space.generation == generation + 1
    assert b.store.lookup("k").tier == "file"
    b.readmit()
    assert b.guard.breaker.closed and b.guard.identity == "run 2"
    assert b.store._core.space.generation == a.store._core.space.generation == generation + 1
    a.look()
    assert a.guard.breaker.closed


def test_a_process_that_starts_believes_what_was_adopted_and_nothing_else(
    start: Start, a: Process, server: Server
) -> None:
    generation = a.store._core.space.generation
    same = start()
    same.store.get("k")
    assert same.store._core.space.generation == generation
    server.run = "run 2"  # nobody has noticed
    other = start()
    assert other.store.lookup("k").tier == "file" and other.store._core.space.generation == generation + 1


def test_a_restored_backup_does_not_read_what_the_cache_has_of_later(
    start: Start, a: Process, server: Server, tmp_path: Path
) -> None:
    restored = tmp_path / "restored"
    restored.mkdir()
    a.store.backup(restored / "tiered.sqlite3")
    a.store.set_many({"k": "after the backup", "later": 1})
    a.store.close()
    b = start(directory=restored)
    assert b.store.get_many(["k", "later"]) == {"k": "v1"}
    b.store.set("k", "v2")
    c = start(directory=restored, entries=0)
    assert c.store.lookup("k").value == "v2" and c.store.get("later") is None


# The limit of the journal


def test_a_journal_past_its_limit_costs_a_generation_and_no_promise(start: Start, server: Server) -> None:
    a, b = start(max_pending=10), start(entries=0, max_pending=10)
    keys = [f"k{n}" for n in range(12)]
    a.store.set_many(dict.fromkeys(keys, "old"))
    a.record.journal.flush()
    assert b.store.lookup("k0").tier == "cache"
    generation = b.store._core.space.generation
    a.cache.cut_off()
    for key in keys:
        a.store.set(key, "new")
    a.record._tidy()
    assert a.record.generation("default") > generation
    assert a.record.journal.pending("cache", limit=1) == [] and a.record.journal.adopted("cache") is None
    b.look()
    assert not b.guard.breaker.closed
    assert b.store.get_many(keys) == dict.fromkeys(keys, "new")
    b.readmit()
    assert b.guard.breaker.closed and b.record.journal.adopted("cache") == "run 1"
    assert b.store.get_many(keys) == dict.fromkeys(keys, "new")
    assert {b.store.lookup(key).tier for key in keys} == {"cache"}
    a.cache.reconnect()
    a.look()  # it notices that somebody else has adopted the cache anew, and pays what it owes
    a.readmit()
    assert a.guard.breaker.closed and not a.guard.owed and a.store.get("k0") == "new"


def test_a_debt_whose_mark_was_given_up_is_not_settled_before_the_new_generation_is_known(start: Start) -> None:
    a, b = start(entries=0, max_pending=10), start(max_pending=10)
    keys = [f"k{n}" for n in range(12)]
    a.store.set_many(dict.fromkeys(keys, "old"))
    a.cache.cut_off()
    for key in keys:
        a.store.set(key, "new")
    a.cache.reconnect()
    a.guard.breaker.close()
    b.record._tidy()  # the marks are gone, and a has not looked since
    a.store._core.service.keeper.replay(a.guard)
    assert a.store.get_many(keys) == dict.fromkeys(keys, "new")


def test_before_anybody_has_looked_nothing_old_is_believed_after_the_limit(start: Start) -> None:
    """The marks are gone, so looking at them proves nothing: the new generation must be seen first."""
    a, b = start(max_pending=10), start(entries=0, max_pending=10)
    a.store.set("k", "old")
    a.record.journal.flush()
    assert b.store.get("k") == "old"
    a.cache.cut_off()
    a.store.set_many({"k": "new"} | {f"k{n}": n for n in range(12)})
    a.record._tidy()
    b.clock.advance(1.6)  # more than the staleness bound: its last look proves nothing any more
    assert b.store.get("k") == "new"


# Whose a namespace is


def test_a_namespace_of_another_store_is_an_error_that_explains(start: Start, a: Process) -> None:
    stranger = start(directory=a.record.directory.parent / "another")
    for _ in range(2):
        with pytest.raises(ConfigError, match="another store of record") as caught:
            stranger.store.get("k")
        assert "claim of default" in str(caught.value) and "prefix" in str(caught.value)
    with pytest.raises(ConfigError):
        stranger.store.set("k", "theirs")
    state = stranger.store.health()["cache"]
    assert state["ok"] is False and "another store of record" in state["detail"]
    assert a.store.get("k") == "v1" and a.store.health()["cache"]["ok"]
    mine = stranger.store.namespace("mine")
    mine.set("k", "of another namespace")
    assert mine.get("k") == "of another namespace"


def test_a_claim_that_is_refused_in_the_background_keeps_the_cache_out(start: Start, server: Server) -> None:
    b = start()
    b.cache.cut_off()
    b.store.set("k", "v1")  # goes on without a cache
    server.claims["default"] = "of somebody else"
    b.cache.reconnect()
    for _ in range(3):
        b.readmit()
        assert not b.guard.breaker.closed and b.store.get("k") == "v1"
    assert "another store of record" in b.store.health()["cache"]["detail"]
    del server.claims["default"]  # as the message says
    b.readmit()
    assert b.guard.breaker.closed and b.store.health()["cache"]["ok"]


def test_a_claim_that_is_lost_while_in_service_takes_the_cache_out(a: Process, server: Server) -> None:
    server.claims["default"] = "of somebody else"
    a.clock.advance(CLAIMS + 1)
    a.look(2)
    assert not a.guard.breaker.closed and not a.store.health()["cache"]["ok"]
    assert a.store.get("k") == "v1"


def test_why_a_cache_stays_out_is_told_once_until_that_changes(
    a: Process, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def told(probes: int = 4) -> list[tuple[str, str]]:
        caplog.clear()
        for _ in range(probes):
            a.readmit()
        return [(it.levelname, it.getMessage()) for it in caplog.records if "out of service" in it.getMessage()]

    caplog.set_level("INFO", "tiered")
    server.claims["default"] = "of somebody else"
    a.guard.breaker.trip()
    ((level, message),) = told()
    assert level == "ERROR" and "of some" in message
    server.claims["default"] = "by a third one"
    ((_, message),) = told()
    assert "by a thi" in message
    a.cache.cut_off()
    assert [level for level, _ in told()] == ["INFO"]
    a.cache.reconnect()
    assert [level for level, _ in told()] == ["ERROR"]
    del server.claims["default"]
    assert told() == [] and a.guard.breaker.closed
    server.claims["default"] = "by a third one"
    a.guard.breaker.trip()
    assert len(told()) == 1  # it is new again


def test_a_claim_that_is_lost_while_in_service_is_told_once(
    a: Process, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.claims["default"] = "of somebody else"
    a.clock.advance(CLAIMS + 1)
    a.look()
    for _ in range(4):
        a.readmit()
    assert [it.levelname for it in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("what", ["journal", "debts"])
def test_what_the_record_does_not_do_is_told_once_until_it_does(
    a: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """A full disk is full at every look, some times a second."""

    def told(looks: int = 4) -> list[str]:
        caplog.clear()
        a.look(looks)
        return [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]

    def refuse(*args: Any) -> None:
        raise NotApplied("the disk is full", tier="file", reason=Reason.FULL)

    place: Any = a.record.journal if what == "journal" else a.store._core.service.keeper._replay
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(place, "flush" if what == "journal" else "pay", refuse)
            (message,) = told()
            assert message.endswith("the disk is full")
        assert told() == []


def test_claims_are_renewed_and_not_at_every_look(a: Process) -> None:
    a.look()
    before = a.cache.claimed
    a.look(5)
    assert a.cache.claimed == before
    a.clock.advance(CLAIMS + 1)
    a.look(5)
    assert a.cache.claimed == before + 1


def test_the_claims_of_many_namespaces_are_renewed_as_they_were_made_and_not_all_in_one_look(a: Process) -> None:
    for n in range(10):
        a.clock.advance(1)
        a.store.namespace(f"n{n}").get("k")
    a.clock.advance(CLAIMS - 9.5)
    before, renewed = a.cache.claimed, list[int]()
    for _ in range(10):
        a.clock.advance(1)
        a.look()
        renewed.append(a.cache.claimed - before)
    assert renewed[0] < 3 and renewed[-1] == 11 and all(y - x <= 1 for x, y in itertools.pairwise(renewed))


def test_a_namespace_that_nobody_uses_here_is_not_claimed_when_a_cache_comes_back(a: Process, server: Server) -> None:
    """Of some it is only heard, and one is a record's own, of which every store has one: the second would never come back."""
    a.store._core.chain.space("heard-of")
    server.claims["heard-of"] = "of another store"
    a.guard.breaker.trip()
    a.readmit()
    assert a.guard.breaker.closed and server.claims["heard-of"] == "of another store"


def test_who_adopts_a_cache_after_another_process_learns_the_generation(a: Process, b: Process, server: Server) -> None:
    """The other's adoption came between this one's look at the generations and its own adoption, which changed nothing."""
    a.store.set("k", "v1")
    scope, old = a.store._core.space.scope, a.held("k")
    a.store.set("k", "v2")
    assert b.store.get("k") == "v2"
    for process in (a, b):
        process.guard.breaker.trip()
    server.run = "run 2"
    server.memory.forget_all()
    assert old is not None and put(server.memory, scope, "k", old)
    server.clock.advance(60)
    b.cache.before_probe = a.look
    b.look()
    assert a.guard.breaker.closed and b.guard.breaker.closed
    b.store._core.chain.memory.forget_all()
    assert b.store.get("k") == "v2"


def test_a_first_read_that_cannot_adopt_a_cache_could_not_look(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    b = start()

    def fails(*_: object) -> bool:
        raise NotApplied("no room", tier="file")

    monkeypatch.setattr(b.record.journal, "adopt", fails)
    with pytest.raises(StoreUnavailable, match="no room"):
        b.store.get("k")
    with pytest.raises(NotApplied, match="no room"):
        b.store.set("k", "v")
