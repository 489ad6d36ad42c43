"""health() says that a tier is well only while it does what it is there for."""

from __future__ import annotations

import pytest

from tests.by_hand import Process, Server
from tests.file_tier import connection
from tests.unit.conftest import Start
from tiered.entry import MAX_VERSION
from tiered.errors import NotApplied, Reason
from tiered.observability.last_write import TOLD

LARGE = "x" * 1_000_000


@pytest.fixture
def a(start: Start) -> Process:
    a = start(entries=0)
    a.store.set("k", "v")
    return a


def test_a_cache_out_of_service_is_not_well_and_says_why(a: Process) -> None:
    assert a.store.health()["cache"] == a.store.health()["cache"] | {"ok": True, "detail": "", "breaker": "closed"}
    a.cache.cut_off()
    for _ in range(5):
        a.store.set("k", "v")
    state = a.store.health()["cache"]
    assert not state["ok"] and state["detail"] == "out of service: failed on purpose, without effect"
    a.cache.reconnect()
    assert not a.store.health()["cache"]["ok"], "it is there again and not used yet"
    a.readmit()
    assert a.store.health()["cache"] == state | {"ok": True, "detail": "", "breaker": "closed", "owed": 0}


def test_a_probe_that_fails_says_why_now(a: Process) -> None:
    a.guard.trip("whatever")
    a.cache.cut_off()
    a.readmit()
    assert a.store.health()["cache"]["detail"] == "out of service: failed on purpose"


def test_a_cache_that_is_not_met_or_another_is_not_well(start: Start, a: Process, server: Server) -> None:
    b = start()
    b.cache.cut_off()
    assert b.store.get("k") == "v" and "failed on purpose" in b.store.health()["cache"]["detail"]
    server.run = "run 2"
    b.cache.reconnect()
    b.readmit()
    assert b.store.health()["cache"]["ok"]
    a.look()
    assert "another process found other data" in a.store.health()["cache"]["detail"]


def test_a_cache_that_refuses_what_it_is_owed_is_not_well_though_its_breaker_is_closed(
    a: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> list[bool]:
        raise NotApplied("this user has no permissions", tier="cache", reason=Reason.MISUSE)

    with monkeypatch.context() as patch:
        patch.setattr(a.cache, "put_many", denied)
        assert a.store.set("k", "new").tiers["cache"] == "queued"
        a.look(2)
        state = a.store.health()["cache"]
        assert state["breaker"] == "closed" and state["owed"] == 1
        assert not state["ok"] and state["detail"] == "does not do what it is asked: this user has no permissions"
    a.look(2)
    state = a.store.health()["cache"]
    assert state["ok"] and state["detail"] == "" and state["owed"] == 0


def test_debts_that_are_not_counted_any_more_are_told(a: Process) -> None:
    a.guard.owed.limit = 3
    a.guard.owe_many("default", [(f"k{n}", MAX_VERSION) for n in range(9)])
    assert "more keys owed" in a.store.health()["cache"]["detail"]


def test_a_record_that_does_not_take_the_last_write_is_not_well(a: Process) -> None:
    (pages,) = connection(a.record).execute("PRAGMA page_count").fetchone()
    connection(a.record).execute(f"PRAGMA max_page_count={pages}")
    for _ in range(2):
        with pytest.raises(NotApplied):
            a.store.set("large", LARGE)
        state = a.store.health()["file"]
        assert not state["ok"] and "the last write failed: " in state["detail"] and "free some space" in state["detail"]
    assert a.store.get("k") == "v" and not a.store.health()["file"]["ok"], "that it reads says nothing of writing"
    connection(a.record).execute("PRAGMA max_page_count=1000000")
    a.store.set("large", LARGE)
    assert a.store.health()["file"] == state | {"ok": True, "detail": "", "bytes": a.store.health()["file"]["bytes"]}


def test_a_write_that_failed_is_told_for_a_while(a: Process) -> None:
    """Else a process that gets no writes because it is not well would never be well again."""
    (pages,) = connection(a.record).execute("PRAGMA page_count").fetchone()
    connection(a.record).execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(NotApplied):
        a.store.set("large", LARGE)
    a.clock.advance(TOLD - 0.1)
    assert not a.store.health()["file"]["ok"]
    a.clock.advance(0.2)
    assert a.store.health()["file"]["ok"]


def test_a_condition_that_does_not_hold_is_no_failure(a: Process) -> None:
    assert a.store.add("k", "again") is None and a.store.health()["file"]["ok"]
