"""Looking at the pending marks: what other processes could not publish is noticed here (R7)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.by_hand import Process
from tests.unit.conftest import Start


@pytest.fixture
def a(start: Start) -> Process:
    """Writes; what it wrote so far is in the cache and confirmed."""
    a = start()
    a.store.set("k", "v1")
    a.record.journal.flush()
    return a


@pytest.fixture
def b(start: Start, a: Process) -> Process:
    """Has read what `a` wrote, and looked."""
    b = start()
    assert b.store.get("k") == "v1" and b.remembers("k") and not b.guard.owed
    b.look()
    return b


def test_memory_below_a_mark_is_dropped_at_the_first_look_and_the_key_owed_at_the_second(
    a: Process, b: Process
) -> None:
    a.cache.cut_off()
    a.store.set("k", "v2")
    b.look()
    assert not b.remembers("k") and not b.owes("k")
    b.cache.cut_off()  # so that it stays owed
    b.look()
    assert b.owes("k")
    b.cache.reconnect()
    assert b.store.get("k") == "v2"


def test_a_healthy_write_is_pending_for_a_moment_and_owes_nothing(a: Process, b: Process) -> None:
    a.store.set("k", "v2")  # taken by the cache; its confirmation waits for the next commit
    b.look()
    a.record.journal.flush()
    b.look(3)
    assert not b.owes("k")
    assert b.store.lookup("k").tier == "cache"


def test_a_key_that_is_rewritten_between_looks_is_owed_all_the_same(a: Process, b: Process) -> None:
    """r7_rewritten: a process that is cut off and goes on writing replaces its mark each time."""
    a.cache.cut_off()
    a.store.set("k", "v2")
    b.look()
    version = a.store.set("k", "v3").version
    b.cache.cut_off()
    b.look()
    assert b.owes("k")
    assert [debt.version for debt in b.guard.owed.debts()] == [version]


def test_at_the_first_look_of_all_everything_pending_is_owed(start: Start, a: Process) -> None:
    """Nobody knows for how long it has been pending."""
    a.cache.cut_off()
    a.store.set("k", "v2")
    fresh = start()
    assert fresh.store.get("k") == "v2" and fresh.owes("k")


def test_what_memory_has_newer_than_the_mark_stays(a: Process, b: Process) -> None:
    a.cache.cut_off()
    a.store.set("k", "v2")
    b.store.set("k", "v3")
    b.look()
    assert b.remembers("k") and b.store.get("k") == "v3"


def test_a_read_under_way_does_not_bring_back_what_a_look_has_dropped(a: Process, b: Process) -> None:
    b.store._core.chain.memory.drop(b.store._core.space.part, "k")

    def meanwhile() -> None:
        a.cache.cut_off()
        a.store.set("k", "v2")
        b.look()

    b.cache.after_get = meanwhile
    assert b.store.get("k") == "v2"


def test_a_look_costs_what_is_new_however_long_the_journal_is(
    a: Process, b: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, read = b.record.journal, list[int]()
    pending = journal.pending

    def counted(*args: object, **options: object) -> object:
        marks = pending(*args, **options)  # type: ignore[arg-type]  # passed on
        read.append(len(marks))
        return marks

    monkeypatch.setattr(journal, "pending", counted)
    monkeypatch.setattr(b.store._core.service.keeper, "_pay", lambda guard: None)

    def marks_of_a_look() -> int:
        read.clear()
        b.look()
        return sum(read)

    a.cache.cut_off()
    a.store.set_many({f"k{n}": n for n in range(1200)})
    assert [marks_of_a_look() for _ in range(4)] == [1200, 1200, 0, 0]
    a.store.set("new", 1)
    assert [marks_of_a_look() for _ in range(3)] == [1, 1, 0]
    assert b.owes("k7") and b.owes("k1199") and b.owes("new")


@pytest.mark.parametrize("moment", ["pending", "generation"])
def test_a_clear_in_the_middle_of_a_look_is_not_missed(
    a: Process, b: Process, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the mark away that would have told of the write before it."""
    a.cache.cut_off()
    a.store.set("k", "v2")
    asked = b.record.journal if moment == "pending" else b.record
    answer = getattr(asked, moment)

    def overtaken(*args: Any, **options: Any) -> Any:
        if moment == "pending":
            a.store.clear()
            return answer(*args, **options)
        found = answer(*args, **options)
        a.store.clear()
        return found

    monkeypatch.setattr(asked, moment, overtaken)
    b.look()
    assert not b.remembers("k")


def test_a_chain_without_the_cache_leaves_marks_for_those_that_have_it(start: Start, a: Process, b: Process) -> None:
    plain = start(cached=False)
    plain.store.set("k", "v2")
    assert b.store.get("k") == "v1"  # within the staleness bound
    b.look()
    b.cache.cut_off()
    b.look()
    assert b.owes("k") and b.store.get("k") == "v2"
    b.cache.reconnect()
    b.readmit()
    assert not b.owes("k") and b.store.get("k") == "v2"
    assert b.record.journal.pending("cache", limit=1) == []
